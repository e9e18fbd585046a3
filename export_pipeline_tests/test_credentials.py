"""No password of a setting is ever shown, however its URL is written and whatever fails."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from urllib.parse import quote

import pytest

import export_pipeline
from export_pipeline.database_url import dagster_url
from export_pipeline.jobs import Ledger, LedgerError, migrate
from export_pipeline.redaction import hide_credentials, remember_credentials
from export_pipeline.settings import SettingsError, load_settings
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline_tests.commands import Command
from export_pipeline_tests.jobs.lives import run_of

PARTS = ("S3NTINEL", "TAILWORD")  # of each password; none may be shown
DATABASES = ("EXPORT_SOURCE_URL", "EXPORT_JOBS_URL", "DAGSTER_POSTGRES_URL")
PASSWORDS = [f"{PARTS[0]}{between}{PARTS[1]}" for between in ("@", "/?", "#", ":%", "&=", "+ '", "@@")]
UNREACHABLE = "127.0.0.1:1"


def urls(password: str, place: str = UNREACHABLE) -> list[str]:
    """Ways to write a database's URL; some are wrong."""
    escaped = quote(password, safe="")
    return [
        f"postgresql://ann:{password}@{place}/app",
        f"postgresql+psycopg2://ann:{escaped}@{place}/app",
        f"postgresql://ann@{place}/app?password={escaped}",
        f"postgresql//ann:{password}@{place}/app",
        f"nosuch://ann:{password}@{place}/app",
        f"mysql+pymysql://ann:{escaped}@{place}/app",
        password,
        # With an @ these are good URLs, of a host that is called like the password's end.
        *(f"postgresql://{user}:{password}/app" for user in ("ann", place) if "@" not in password),
    ]


def assert_hidden(text: str) -> None:
    for part in PARTS:
        assert part not in text


@pytest.mark.slow
@pytest.mark.parametrize("password", PASSWORDS)
def test_no_command_shows_the_password_of_a_database(
    password: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in DATABASES:
        for url in urls(password):
            with monkeypatch.context() as patch:
                patch.setenv(setting, url)
                if setting != "DAGSTER_POSTGRES_URL":
                    ended = command("migrate")
                    assert_hidden(ended.out + ended.err)
                try:
                    load_settings()
                    dagster_url(url)
                except (SettingsError, ValueError) as error:
                    assert_hidden(str(error))
                    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "setting", [*DATABASES, "EXPORT_SMTP_URL", "EXPORT_S3_ENDPOINT_URL", "EXPORT_STORE_URL"]
)
def test_health_shows_no_password(setting: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_MAIL_FROM", "exports@example.org")
    schemes = {"EXPORT_SMTP_URL": "smtp", "EXPORT_S3_ENDPOINT_URL": "http", "EXPORT_STORE_URL": "s3"}
    written = quote(PASSWORDS[0], safe="")
    monkeypatch.setenv(setting, f"{schemes.get(setting, 'postgresql')}://ann:{written}@{UNREACHABLE}")
    ended = command("health", "--json")
    assert ended.code
    assert_hidden(ended.out + ended.err)


@pytest.mark.parametrize("password", PASSWORDS)
def test_errors_of_a_server_that_refuses_show_no_password(password: str, postgres_url: str) -> None:
    place = postgres_url.rpartition("@")[2].partition("/")[0]
    for url in urls(password, place)[:3]:
        for fail in (lambda url=url: open_snapshot(url).__enter__(), lambda url=url: migrate(url)):
            with pytest.raises((SourceError, LedgerError, ValueError)) as failed:
                fail()
            if not isinstance(failed.value, ValueError):
                assert_hidden(str(failed.value))


def test_a_password_with_an_at_is_refused_with_the_way_to_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "postgresql://ann:a@b@host/app")
    with pytest.raises(SettingsError, match=r"^EXPORT_SOURCE_URL: holds an @ too many; .* as %40"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://ann:a@b@host/app now", "at postgresql://ann:***@host/app now"),
        ('"http://ann:pw@host/x" failed', '"http://ann:***@host/x" failed'),
        ("postgresql://host/app?password=pw&x=1", "postgresql://host/app?password=***&x=1"),
        ("host=h password='p w' user=u", "host=h password=*** user=u"),
        ("AWS_SECRET_ACCESS_KEY=pw", "AWS_SECRET_ACCESS_KEY=***"),
        ("PGPASSWORD=pw psql", "PGPASSWORD=*** psql"),
        ("/key?X-Amz-Signature=0aff&x=1", "/key?X-Amz-Signature=***&x=1"),
        ("(using password: YES)", "(using password: YES)"),
        ("https://host:8080/a mail ann@example.org", "https://host:8080/a mail ann@example.org"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


def test_a_password_that_was_seen_is_hidden_in_any_text(ledger_file: str) -> None:
    remember_credentials("postgresql://ann:0ne%40tw0thr33@host/app")
    assert hide_credentials('host name "tw0thr33@host"') == 'host name "tw0thr33@host"'  # escaped: no tail
    assert hide_credentials("invalid token 0ne%40tw0thr33 or 0ne@tw0thr33") == "invalid token *** or ***"
    with Ledger(ledger_file) as ledger:
        job = ledger.request("takeoff", "csv")
        failed = ledger.failed(run_of(job), "export_failed", "the driver said 0ne@tw0thr33")
    assert failed.error_message == "the driver said ***"


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("postgresql://ann:user@host/app", "users of app_user; user", "users of app_user; ***"),
        ("postgresql://ann:!abc!@host/app", "x!abc!y", "x***y"),
        ("postgresql://ann:two words@host/app", "as two words", "as ***"),
        ("postgresql://ann:0ne2three@host/app?options=a@b", "as 0ne2three", "as ***"),
        ("postgresql://ann:größe@host/app", "größe, Übergröße, größer", "***, Übergröße, größer"),
    ],
)
def test_a_password_that_is_an_everyday_word_does_not_damage_longer_words(
    url: str, text: str, shown: str
) -> None:
    remember_credentials(url)
    assert hide_credentials(text) == shown


@pytest.fixture
def ledger_file(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    return url


def test_settings_do_not_repeat_what_they_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.devnull.rpartition("/")[0])
    for setting in (
        "EXPORT_UI_URL",
        "EXPORT_PUBLIC_URL",
        "EXPORT_S3_ENDPOINT_URL",
        "EXPORT_S3_PUBLIC_ENDPOINT_URL",
    ):
        with monkeypatch.context() as patch:
            patch.setenv(setting, f"https://ann:{PASSWORDS[0]}@host")
            with pytest.raises(SettingsError, match="takes no user and no password") as refused:
                load_settings()
            assert_hidden(str(refused.value))


def test_no_engine_shows_the_parameters_of_a_statement() -> None:
    """SQLAlchemy puts them into its errors, which logs keep."""
    for file in Path(str(export_pipeline.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("create_engine"):
                assert "hide_parameters=True" in ast.unparse(node), file
