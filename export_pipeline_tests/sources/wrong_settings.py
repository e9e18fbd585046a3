"""A role and a database whose settings change what SQL means, and a schema whose functions are not PostgreSQL's."""

from __future__ import annotations

import secrets
from contextlib import closing

import sqlalchemy as sa

from export_pipeline_tests.services.postgres import PostgresServer

WRONG = {
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "xmloption": "document",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "gin_fuzzy_search_limit": "1",
    "default_transaction_isolation": "read uncommitted",
    "default_transaction_deferrable": "on",
    "idle_in_transaction_session_timeout": "20s",
    "transaction_timeout": "20s",
    "search_path": "public, pg_catalog",
}
_FUNCTIONS = """
CREATE FUNCTION public.lower(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'a'::text $$;
CREATE FUNCTION public.strpos(text, text) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION public.never(text, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR public.= (FUNCTION = public.never, LEFTARG = text, RIGHTARG = text);
"""


def wrong_reader(server: PostgresServer, url: str) -> str:
    """Turn every setting of a database, and of a new role that may read it; return the role's URL."""
    database, role = str(sa.make_url(url).database), f"reader_{secrets.token_hex(4)}"
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(_FUNCTIONS)
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT pg_read_all_data TO {role}")
        for place, (name, value) in enumerate(WRONG.items()):
            whose = f"ROLE {role}" if place % 2 else f"DATABASE {database}"
            given = value if name == "search_path" else f"'{value}'"
            cursor.execute(f"ALTER {whose} SET {name} = {given}")
    return sa.make_url(url).set(username=role, password="p").render_as_string(hide_password=False)
