"""Private and undocumented API of Dagster: no module outside uses any, and a contract test checks each name.

Undocumented are modules with an underscore, and members that Dagster does not mark as public.
"""
