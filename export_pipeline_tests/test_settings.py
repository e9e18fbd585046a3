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
    ("name", "value", "said"),
    [
        ("EXPORT_SOURCE_URL", f"not a url {SECRET}", "not a database URL"),
        ("EXPORT_SOURCE_URL", "", "not a database URL"),
        ("EXPORT_JOBS_URL", f"not a url {SECRET}", "not a database URL"),
        ("EXPORT_JOBS_URL", f"mysql://u:{SECRET}@host/x", "PostgreSQL or SQLite"),
        ("EXPORT_RETENTION_DAYS", "0", "greater than or equal to 1"),
        ("EXPORT_MAX_IN_FLIGHT", SECRET, "valid integer"),
        ("EXPORT_UI_URL", SECRET, "http://"),
        ("EXPORT_STORE_URL", f"ftp://u:{SECRET}@host/x", "s3://bucket/prefix"),
        ("EXPORT_STORE_URL", "s3://", "names no bucket"),
        ("EXPORT_STAGING_URL", f"s3://{SECRET}/x", "a folder that every worker sees"),
        ("EXPORT_TIMEZONE", "Mars/Base", "IANA time zone"),
        ("EXPORT_LINK_TTL_SECONDS", "0", "greater than or equal to 1"),
        ("EXPORT_LINK_TTL_SECONDS", "604801", "604800"),
        ("EXPORT_LINK_TTL_SECONDS", SECRET, "valid integer"),
        ("EXPORT_STATEMENT_TIMEOUT_SECONDS", "-1", "greater than or equal to 0"),
        ("EXPORT_S3_SSE", SECRET, "AES256"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert said in message
    assert "\n" not in message
    assert SECRET not in message


def test_a_wrong_line_of_the_env_file_is_told_as_such(tmp_path: Path) -> None:
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


def test_what_follows_from_a_wrong_setting_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SOURCE_URL", "nonsense")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "more setting" not in str(caught.value)  # the ledger's URL is by default the source's
    monkeypatch.setenv("EXPORT_RETENTION_DAYS", "0")
    with pytest.raises(SettingsError, match=r"^EXPORT_SOURCE_URL: .*\(1 more setting is wrong\)$"):
        load_settings()


def test_what_nobody_has_set_is_said_to_stand_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SMTP_URL", "smtp://mail.example.org")
    with pytest.raises(SettingsError, match=r"^EXPORT_MAIL_FROM: must say who mails are from"):
        load_settings()
