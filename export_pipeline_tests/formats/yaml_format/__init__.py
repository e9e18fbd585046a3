"""A format that the product does not have: a package as a developer would add it to `formats/`."""
