from pathlib import Path

import pytest

from export_pipeline.settings import SettingsError, load_settings

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("EXPORT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default_and_a_description() -> None:
    settings = load_settings()
    assert settings.source_url.startswith("sqlite:///")
    assert all(field.description for field in type(settings).model_fields.values())


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EXPORT_SOURCE_URL", f"not a url {SECRET}", "not a database URL"),
        ("EXPORT_SOURCE_URL", "", "not a database URL"),
        ("EXPORT_JOBS_URL", f"not a url {SECRET}", "not a database URL"),
        ("EXPORT_JOBS_URL", f"mysql://u:{SECRET}@host/x", "PostgreSQL or SQLite"),
        ("EXPORT_UI_URL", SECRET, "http://"),
        ("EXPORT_STORE_URL", f"ftp://u:{SECRET}@host/x", "s3://bucket/prefix"),
        ("EXPORT_STORE_URL", "s3://", "names no bucket"),
        ("EXPORT_STAGING_URL", f"ftp://u:{SECRET}@host/x", "s3://bucket/prefix"),
        ("EXPORT_TIMEZONE", "Mars/Base", "IANA time zone"),
        ("EXPORT_S3_SSE", SECRET, "AES256"),
        ("EXPORT_PDF_LOGO", "no-such-file.png", "cannot be read: no-such-file.png"),
        ("EXPORT_PDF_COLOR", "green", "a colour such as #2B579A"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert problem in message
    assert "\n" not in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EXPORT_RETENTION_DAYS", "abc", "must be a whole number of at least 1, not 'abc'"),
        ("EXPORT_RETENTION_DAYS", "0", "must be a whole number of at least 1, not '0'"),
        ("EXPORT_MAX_IN_FLIGHT", "1.5", "must be a whole number of at least 1, not '1.5'"),
        ("EXPORT_LINK_TTL_SECONDS", "604801", "must be a whole number from 1 to 604800, not '604801'"),
        ("EXPORT_STATEMENT_TIMEOUT_SECONDS", "-1", "must be a number of at least 0, not '-1'"),
    ],
)
def test_a_wrong_number_is_reported_with_its_limits(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}: {message}"


@pytest.mark.parametrize("name", ["EXPORT_SOURCE_URL", "EXPORT_JOBS_URL"])
def test_the_short_name_of_postgresql_is_understood(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "postgres://u:p@host/postgres://")
    url = getattr(load_settings(), name.removeprefix("EXPORT_").lower())
    assert url == "postgresql://u:p@host/postgres://"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("EXPORT_SOURC_URL", "EXPORT_SOURCE_URL"),
        ("export_time_zone", "EXPORT_TIMEZONE"),
        ("EXPORT_S3_ENDPOINT", "EXPORT_S3_ENDPOINT_URL"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_right_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, right: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}: there is no such setting; it is called {right}"
    monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(f"{name}={SECRET}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name} (from .env): there is no such setting; it is called {right}"


@pytest.mark.parametrize(
    "name", ["EXPORT_BASE_URL", "EXPORT_LOGS_BUCKET", "EXPORT_TEST_TIMEZONE", "SOURC_URL", "EXPORT_"]
)
def test_a_name_near_to_no_setting_is_anothers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    load_settings()


def test_a_broken_line_of_the_env_file_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# first\n\nEXPORT_RETENTION_DAYS=3\n{SECRET} is no name\nEXPORT_TIMEZONE=UTC\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{file}, line 4: cannot be read; write NAME=value")
    assert SECRET not in message
    assert caplog.text == ""  # python-dotenv's own words name no file


def test_a_wrong_line_of_the_env_file_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EXPORT_TIMEZONE=Nowhere\nEXPORT_LINK_TTL_SECONDS=0\n")
    with pytest.raises(SettingsError, match=r"from \.env\).*1 more setting"):
        load_settings()


def test_requests_are_kept_in_the_applications_database_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "mysql://host/app")
    assert load_settings().jobs_url == "mysql://host/app"  # the ledger says so when it is first used
    monkeypatch.setenv("EXPORT_JOBS_URL", "postgresql://host/jobs")
    assert load_settings().jobs_url == "postgresql://host/jobs"


def test_consequences_of_a_wrong_setting_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "nonsense")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "more setting" not in str(caught.value)  # the ledger's URL is by default the source's
    monkeypatch.setenv("EXPORT_RETENTION_DAYS", "0")
    with pytest.raises(SettingsError, match=r"^EXPORT_SOURCE_URL: .*\(1 more setting is wrong\)$"):
        load_settings()


def test_the_error_about_a_missing_setting_names_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SMTP_URL", "smtp://mail.example.org")
    with pytest.raises(SettingsError, match=r"^EXPORT_MAIL_FROM: must say who mails are from"):
        load_settings()


def test_settings_follow_the_environment_the_env_file_and_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Though they are parsed only once for each."""
    monkeypatch.chdir(tmp_path)
    assert load_settings() is load_settings()
    seen = [(load_settings().timezone, load_settings().store_url)]
    for change in (
        lambda: (tmp_path / ".env").write_text("EXPORT_TIMEZONE=Asia/Tokyo\n"),
        lambda: (tmp_path / ".env").write_text("EXPORT_TIMEZONE=Asia/Dubai\n"),
        lambda: monkeypatch.setenv("EXPORT_TIMEZONE", "Europe/Berlin"),
        lambda: (tmp_path / "exports" / "exports").mkdir(parents=True),
        lambda: monkeypatch.chdir(tmp_path / "exports"),
    ):
        change()
        seen.append((load_settings().timezone, load_settings().store_url))
    assert [zone for zone, _ in seen[:4]] == ["UTC", "Asia/Tokyo", "Asia/Dubai", "Europe/Berlin"]
    assert [Path(store).relative_to(tmp_path) for _, store in seen[3:]] == [
        Path("store"), Path("exports"), Path("exports/store"),
    ]  # fmt: skip
