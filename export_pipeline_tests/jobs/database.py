"""The ledger's database without the ledger: drivers and plain SQL, as an application uses them."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa


class Database:
    """A connection of the driver itself, in autocommit. `?` stands for a parameter."""

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = sa.make_url(url)
        self.is_postgres = parsed.get_backend_name() == "postgresql"
        if self.is_postgres:
            import psycopg2

            plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
            self.connection: Any = psycopg2.connect(plain)
            self.connection.autocommit = True
            self.error: type[Exception] = psycopg2.Error
        else:
            self.connection = sqlite3.connect(str(parsed.database), isolation_level=None, timeout=30)
            self.error = sqlite3.Error

    def run(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement; the rows it gives."""
        cursor = self.connection.cursor()
        cursor.execute(sql.replace("?", "%s") if self.is_postgres else sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []

    def insert(self, scope: str | None = "a", format: str = "csv", dataset: str = "takeoff") -> str:
        """Insert a request as an application does, with dataset, format and scope only; return its id."""
        sql = "INSERT INTO export_jobs (dataset, format, scope) VALUES (?, ?, ?) RETURNING id"
        return str(self.run(sql, dataset, format, scope)[0][0])

    def insert_many(self, count: int, scope: str) -> None:
        """So many requests of a scope at once."""
        self.run("BEGIN")
        for _ in range(count):
            self.insert(scope)
        self.run("COMMIT")

    def age(self, column: str, seconds: int, where: str = "true", table: str = "export_jobs") -> None:
        """Put a time of the jobs, or of another table's rows, back; forward where `seconds` is negative."""
        if self.is_postgres:
            earlier = f"{column} - interval '{seconds} seconds'"
        else:
            earlier = f"strftime('%Y-%m-%dT%H:%M:%f', {column}, '{-seconds} seconds') || '000+00:00'"
        self.run(f"UPDATE {table} SET {column} = {earlier} WHERE {where}")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
