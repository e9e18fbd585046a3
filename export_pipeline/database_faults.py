"""Classification of database errors by SQLSTATE, error number and exception class.

Messages are not matched: their language depends on the server, their wording on the driver's TLS library.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum, auto
from typing import Any


class Fault(StrEnum):
    """Kind of a database error."""

    LOST = auto()
    """The server cannot be reached, or the connection broke; it may come back."""
    BUSY = auto()
    """The server cannot run the statement now; a retry may succeed."""
    READ_ONLY = auto()
    """The server accepts no writes: it is a standby, or was until a moment ago."""
    TIMEOUT = auto()
    """The query was canceled, by a timeout or by somebody."""
    CREDENTIALS = auto()
    DENIED = auto()
    MISSING = auto()
    """The table or column does not exist."""
    CHARACTER = auto()
    """A string cannot be converted between two encodings."""
    TOO_WIDE = auto()
    """A SELECT has more columns than the server allows."""
    OTHER = auto()
    """Any other error; a retry would fail as well."""


# https://www.postgresql.org/docs/current/errcodes-appendix.html; a key of two characters is an error class.
_SQLSTATES = {
    "08": Fault.LOST,
    "57P01": Fault.LOST,  # admin_shutdown
    "57P02": Fault.LOST,  # crash_shutdown
    "57P03": Fault.LOST,  # cannot_connect_now
    "57P05": Fault.LOST,  # idle_session_timeout
    "25P03": Fault.LOST,  # idle_in_transaction_session_timeout
    "40": Fault.BUSY,  # serialization_failure (a replica's conflict with recovery too), deadlock_detected
    "53000": Fault.BUSY,  # insufficient_resources
    "53100": Fault.BUSY,  # disk_full
    "53200": Fault.BUSY,  # out_of_memory
    "53300": Fault.BUSY,  # too_many_connections
    "55006": Fault.BUSY,  # object_in_use
    "55P03": Fault.BUSY,  # lock_not_available
    "58000": Fault.BUSY,  # system_error
    "58030": Fault.BUSY,  # io_error
    "72000": Fault.BUSY,  # snapshot_too_old
    "25006": Fault.READ_ONLY,
    "57014": Fault.TIMEOUT,  # query_canceled
    "25P04": Fault.TIMEOUT,  # transaction_timeout
    "28": Fault.CREDENTIALS,
    "42501": Fault.DENIED,
    "3F000": Fault.MISSING,
    "42P01": Fault.MISSING,
    "42703": Fault.MISSING,
    "54011": Fault.TOO_WIDE,  # too_many_columns
    "22021": Fault.CHARACTER,
    "22P05": Fault.CHARACTER,
}
_SQLITE = {
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_NOMEM: Fault.BUSY,
    sqlite3.SQLITE_IOERR: Fault.BUSY,
    sqlite3.SQLITE_FULL: Fault.BUSY,
    sqlite3.SQLITE_PROTOCOL: Fault.BUSY,  # a race for locks
    sqlite3.SQLITE_SCHEMA: Fault.BUSY,  # the schema changed while a statement was prepared
    sqlite3.SQLITE_CANTOPEN: Fault.LOST,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_INTERRUPT: Fault.TIMEOUT,
}
# https://dev.mysql.com/doc/mysql-errors/en/ and https://mariadb.com/kb/en/mariadb-error-code-reference/
_MYSQL = {
    **dict.fromkeys((2000, 2002, 2003, 2004, 2005, 2006, 2012, 2013, 2026, 2027, 2055), Fault.LOST),  # client
    **dict.fromkeys((1043, 1047, 1053, 1077, 1079, 1080, 1081, 1152, 1153, 1156, 1157, 1158), Fault.LOST),
    **dict.fromkeys((1159, 1160, 1161, 1184, 1189, 1190, 1927, 3168, 3169, 4031), Fault.LOST),
    **dict.fromkeys((1020, 1021, 1030, 1037, 1038, 1040, 1041, 1114, 1129, 1135, 1203, 1205), Fault.BUSY),
    **dict.fromkeys((1206, 1213, 1226, 1412, 1614, 1637, 3101, 3572), Fault.BUSY),  # 1412: altered meanwhile
    **dict.fromkeys((1290, 1792, 1836), Fault.READ_ONLY),
    **dict.fromkeys((1317, 1969, 3024), Fault.TIMEOUT),
    **dict.fromkeys((1045, 1698), Fault.CREDENTIALS),
    **dict.fromkeys((1044, 1142, 1143), Fault.DENIED),
    **dict.fromkeys((1054, 1146), Fault.MISSING),
    **dict.fromkeys((1366, 3854), Fault.CHARACTER),
}
_CLIENT_CLASSES = ("OperationalError", "InterfaceError")


def classify_fault(error: BaseException) -> Fault:
    """Return the kind of an error from sqlite3, psycopg2, ADBC or a MySQL driver."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        # SQLite has no specific code for these errors, and its messages are always in English.
        if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column")):
            return Fault.MISSING
        if code == sqlite3.SQLITE_ERROR and str(error).startswith("too many columns"):
            return Fault.TOO_WIDE
        return Fault.OTHER if code is None else _SQLITE.get(code & 0xFF, Fault.OTHER)
    if isinstance(error, ConnectionError | TimeoutError):
        return Fault.LOST
    number = _number(error)
    if number in _MYSQL:
        return _MYSQL[number]
    state = sqlstate_of(error)
    if state and number is None:
        return _SQLSTATES.get(state, _SQLSTATES.get(state[:2], Fault.OTHER))
    # Errors found by the client library have no SQLSTATE: there is no connection, or it broke. psycopg2
    # raises a plain DatabaseError if the connection breaks in the middle of a result.
    names = {one.__name__ for one in type(error).__mro__}
    is_clients = not names.isdisjoint(_CLIENT_CLASSES) or type(error).__name__ == "DatabaseError"
    return Fault.LOST if is_clients and number is None else Fault.OTHER


def quotes_data(error: BaseException) -> bool:
    """Return whether the message of an error may quote a value of a row, which may be personal."""
    if isinstance(error, sqlite3.Error):
        return str(error).startswith("Could not decode to UTF-8")
    number = _number(error)
    if number is not None:
        return number in _MYSQL_DATA
    return str(sqlstate_of(error) or "")[:2] in ("22", "23")  # data exceptions, violated constraints


_MYSQL_DATA = {1292, 1366, 1367, 1411, 1525, 1690}


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE that PostgreSQL or the driver has set."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _number(error: Any) -> int | None:
    """Return the error number set by a MySQL driver; None if there is none."""
    number = getattr(error, "errno", None) or next(iter(error.args), None)
    return number if isinstance(number, int) and number else None
