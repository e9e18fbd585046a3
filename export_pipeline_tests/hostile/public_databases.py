"""Databases that others wrote, filled from the files that they published."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from export_pipeline_tests.hostile.plain_driver import connect

PUBLIC = Path(__file__).parent / "public"
DATABASES = ("chinook", "flights", "penguins")


def tables_of(database: str) -> list[str]:
    """The tables and views of a public database, in an order in which they can be filled."""
    return re.findall(r'CREATE (?:TABLE|VIEW) "?(\w+)', (PUBLIC / f"{database}.sql").read_text("utf-8"))


def fill(url: str, database: str) -> None:
    """Make a public database's tables and put in its rows, as texts that the database itself reads."""
    statements = (PUBLIC / f"{database}.sql").read_text("utf-8").split(";\n")
    with connect(url) as connection:
        cursor = connection.cursor()
        for statement in filter(str.strip, statements):
            cursor.execute(statement)
        sign = "?" if url.startswith("sqlite") else "%s"
        for table in tables_of(database):
            file = PUBLIC / database / f"{table}.csv"
            if not file.exists():
                continue
            head, *rows = csv.reader(io.StringIO(file.read_text("utf-8"), newline=""))
            names = ", ".join(f'"{name}"' for name in head).replace("%", "%%" if sign == "%s" else "%")
            insert = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join([sign] * len(head))})'
            cursor.executemany(insert, [[cell or None for cell in row] for row in rows])
        connection.commit()
