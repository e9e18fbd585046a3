"""Classification of database errors by SQLSTATE, error number and exception class.

Messages are not matched: their language depends on the server, their wording on the driver's TLS library.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
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
    **dict.fromkeys((1, 2, 3, 5, 20), Fault.BUSY),  # files and memory, such as a full disk
    **dict.fromkeys((1020, 1021, 1030, 1037, 1038, 1040, 1041, 1114, 1129, 1135, 1203, 1205), Fault.BUSY),
    **dict.fromkeys((1206, 1213, 1226, 1412, 1614, 1637, 3101, 3572), Fault.BUSY),  # 1412: altered meanwhile
    **dict.fromkeys((1290, 1792, 1836), Fault.READ_ONLY),
    **dict.fromkeys((1317, 1969, 3024), Fault.TIMEOUT),
    **dict.fromkeys((1045, 1698), Fault.CREDENTIALS),
    **dict.fromkeys((1044, 1142, 1143, 1227), Fault.DENIED),
    **dict.fromkeys((1054, 1146), Fault.MISSING),
    **dict.fromkeys((1366, 3854), Fault.CHARACTER),
}
_MISSING = re.compile("no such table|no such column|table .* has no column named ")
_CLIENT_CLASSES = ("OperationalError", "InterfaceError")


def classify_fault(error: BaseException) -> Fault:
    """Return the kind of an error from sqlite3, psycopg2, ADBC or a MySQL driver."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        # SQLite has no specific code for these errors, and its messages are always in English.
        if code == sqlite3.SQLITE_ERROR and _MISSING.match(str(error)):
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


def message_without_values(error: BaseException, *, of_ledger: bool = False) -> str | None:
    """Return a database's own message if it quotes no value of a row; None if it may, as it may be personal.

    Servers put names into their messages about connections, rights, syntax and missing tables, but values
    into those about data. Functions, triggers and foreign tables raise any text. So only known classes are
    shown.

    Args:
        of_ledger: The database is the ledger's. No value is a name in its statements, and its triggers
            raise fixed texts.
    """
    text = " ".join(str(error).split())
    if isinstance(error, sqlite3.Error):
        return _shown_by_sqlite(error, text)
    if isinstance(error, ConnectionError | TimeoutError | MemoryError):
        return text
    if (number := _number(error)) is not None:
        is_shown = number in _MYSQL_SHOWN or 2000 <= number < 3000  # the client's own
        return " ".join(str(error.args[1]).split()) if is_shown and len(error.args) > 1 else None
    if (state := sqlstate_of(error)) is not None:
        return _shown_by_postgresql(error, state, of_ledger)
    is_clients = classify_fault(error) is Fault.LOST or type(error).__name__ == "NotSupportedError"
    if is_clients and not any(
        error.args[1:] or error.args
    ):  # pymysql's (0, ''): a query after the connection broke
        return "The connection was lost."
    return text.partition(" Query was: ")[0] if is_clients else None


def hide_values(error: BaseException) -> None:
    """Replace the message of an error of a database or of Arrow if it may quote a value of a row.

    SQLAlchemy's errors repeat the driver's message, the statement and its parameters.
    """
    module = _module(error)
    if module == "sqlalchemy" and (hasattr(error, "statement") or type(error).__name__ == "CompileError"):
        cause = getattr(error, "orig", None)
        text = None if cause is None or _module(cause) not in _DRIVERS else message_without_values(cause)
        _set_message(error, text or _hidden(cause or error))
    elif module in _DRIVERS and message_without_values(error) is None:
        _set_message(error, _hidden(error))


def is_driver_error(error: BaseException) -> bool:
    """Return whether an error is of a database's driver, of SQLAlchemy or of Arrow."""
    return _module(error) in ("sqlalchemy", *_DRIVERS)


def _module(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _hidden(error: BaseException) -> str:
    code = code_of(error)
    notice = "the message may quote a value, and is not shown"
    return notice if code == type(error).__name__ else f"{code}: {notice}"


def _set_message(error: Any, text: str) -> None:
    error.args = (text,)
    for name in ("statement", "params", "detail"):  # of SQLAlchemy
        if hasattr(error, name):
            setattr(error, name, [] if name == "detail" else None)
    for name in ("msg", "_full_msg"):  # of mysql.connector, which shows these instead of args
        if hasattr(error, name):
            setattr(error, name, text)


_MYSQL_DRIVERS = ("pymysql", "MySQLdb", "mysql", "mariadb")
_DRIVERS = ("sqlite3", "psycopg2", "adbc_driver_manager", "pyarrow", *_MYSQL_DRIVERS)
_SHOWN = (
    "08", "0A", "0P", "21", "23", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "72",
    "XX001", "XX002",
)  # fmt: skip
"""Beginnings of SQLSTATEs. Details of violated constraints (23) quote values, primary messages do not."""
_NAMING = (
    "08003", "0A", "3D", "3F", "42501", "42601", "42602", "42703", "42704", "42725", "42809", "42883",
    "42P01", "58P01",
)  # fmt: skip
"""Beginnings of SQLSTATEs whose messages may quote a cell that is taken for a name, as in `cell::regclass`.

Only an error that the parser finds in the query itself has a position there.
"""
_PARALLEL = "parallel worker"
"""PostgreSQL's context of an error in a parallel query, where no function is named."""
_MYSQL_SHOWN = {
    *(_MYSQL.keys() - {1366}),  # 1366: Incorrect string value
    *(1049, 1052, 1055, 1056, 1060, 1066, 1104, 1109, 1111, 1115, 1116, 1117, 1118, 1140, 1176, 1193, 1221),
    *(1222, 1235, 1241, 1242, 1247, 1248, 1250, 1267, 1270, 1271, 1273, 1305, 1318, 1356, 1365, 1370, 1449),
    *(1463, 1582, 3065, 4078),
}
_SQLITE_SHOWN = re.compile(
    "no such |ambiguous column name|too many |wrong number of arguments|misuse of |table |index |view "
    "|database |duplicate column name|incomplete input|integer overflow|malformed JSON|near |cannot "
    "|unrecognized token|sub-select returns |SELECTs to the left and right of |HAVING clause "
    r"|\d+\w\w (ORDER|GROUP) BY term |(ORDER BY|LIMIT) clause should |a (GROUP BY|JOIN) clause "
    "|aggregate functions are not |DISTINCT |circular reference|recursive reference"
    "|multiple (recursive )?references |row value misused|all VALUES must |FILTER may |frame "
    r"|unsupported frame |'\w+' is not a function|\w+\(\) may not |unable to use function "
    "|Expression tree is too large|parser stack overflow|ESCAPE expression |LIKE or GLOB pattern "
)
_PYTHONS_SQLITE_SHOWN = (
    "Cannot operate on ", "You can only execute one statement", "Incorrect number of bindings",
    "You did not supply a value for binding", "Error binding parameter ",
)  # fmt: skip


def _shown_by_sqlite(error: sqlite3.Error, text: str) -> str | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # found by Python's module
        undecoded = text.partition(" with text ")[0] if text.startswith("Could not decode") else None
        return text if text.startswith(_PYTHONS_SQLITE_SHOWN) else undecoded
    if code == sqlite3.SQLITE_ERROR and (not _SQLITE_SHOWN.match(text) or _has_literal(text)):
        return None
    return text


_QUOTES = '["«»„“”‹›『』「」]'
_TOKEN = re.compile(rf"{_QUOTES}\s?(\w+|[^\w\s\"'$«»„“”‹›『』「」]{{1,3}})\s?{_QUOTES}")


def _has_literal(text: str) -> bool:
    """Return whether a message about syntax quotes more of the query than single words and signs."""
    return re.search(_QUOTES, _TOKEN.sub("", text)) is not None


@dataclass(frozen=True, slots=True)
class _Diagnostics:
    """Parts of an error of PostgreSQL, with empty strings for what there is not."""

    primary: str
    hint: str
    context: str
    position: str
    """The place in the query, which only PostgreSQL's parser sets."""

    @classmethod
    def of(cls, error: Any) -> _Diagnostics:
        names = ("MESSAGE_PRIMARY", "MESSAGE_HINT", "CONTEXT", "STATEMENT_POSITION")
        if (diag := getattr(error, "diag", None)) is not None:
            values = [getattr(diag, name.lower(), None) or "" for name in names]
        else:
            details = getattr(error, "details", None) or ()
            texts = {_text(key): _text(value) for key, value in details}
            values = [texts.get(f"PG_DIAG_{name}", "") for name in names]
        return cls(*(" ".join(value.split()) for value in values))


def _shown_by_postgresql(error: BaseException, state: str, of_ledger: bool) -> str | None:
    parts = _Diagnostics.of(error)
    if not state.startswith(_SHOWN) or not parts.primary:
        return None
    is_functions = parts.context not in ("", _PARALLEL)  # it may have raised any text
    if is_functions and not (of_ledger and state.startswith("23")):
        return None
    if state.startswith(_NAMING) and not (of_ledger or parts.position or _is_nameless(state, parts.primary)):
        return None
    if state == "42601" and _has_literal(parts.primary):
        return None
    return f"{parts.primary} HINT: {parts.hint}" if parts.hint else parts.primary


def _is_nameless(state: str, primary: str) -> bool:
    """Return whether a message that has no position quotes no name that may be a cell."""
    if (
        state == "42501"
    ):  # of names only those of files may be cells, and a reason follows them: "…": Permission denied
        return re.search(f"{_QUOTES}.*:", primary) is None
    return state in ("08003", "0A000", "42602") and re.search(_QUOTES, primary) is None


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def code_of(error: BaseException) -> str:
    """Return the code by which an error can be looked up, with its name if that is known."""
    if (number := _number(error)) is not None:
        return f"error {number}"
    if (state := sqlstate_of(error)) is not None:
        from psycopg2 import errorcodes

        with suppress(KeyError):
            return f"{errorcodes.lookup(state).lower().replace('_', ' ')} (SQLSTATE {state})"
        return f"SQLSTATE {state}"
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE that PostgreSQL or the driver has set."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _number(error: Any) -> int | None:
    """Return the error number set by a MySQL driver; None if there is none."""
    if _module(error) not in _MYSQL_DRIVERS:
        return None
    number = getattr(error, "errno", None) or next(iter(error.args), None)
    return number if isinstance(number, int) and number else None
