import os
import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline.delivery.smtp import Server, parse_smtp_url
from export_pipeline.settings import SettingsError, load_settings

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("EXPORT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.org", Server("mail.example.org", 587, None, None, "offered")),
        ("smtps://u:p@mail.example.org", Server("mail.example.org", 465, "u", "p", "at once")),
        (
            "smtp://u%40example.org:p%2F%3A%25@mail.example.org:25?starttls=required",
            Server("mail.example.org", 25, "u@example.org", "p/:%", "required"),
        ),
        ("smtp://[::1]:2525/?starttls=never", Server("::1", 2525, None, None, "never")),
    ],
)
def test_urls_of_mail_servers_are_parsed(url: str, server: Server) -> None:
    assert parse_smtp_url(url) == server


def test_everything_of_mail_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert (settings.smtp_url, settings.mail_domains, settings.mail_attach_bytes) == (None, (), 7_000_000)
    monkeypatch.setenv("EXPORT_SMTP_URL", f"smtp://u:{SECRET}@mail.example.org")
    monkeypatch.setenv("EXPORT_MAIL_FROM", "Exports <exports@example.org>")
    monkeypatch.setenv("EXPORT_MAIL_DOMAINS", " Example.org, @bücher.example,")
    settings = load_settings()
    assert settings.mail_domains == ("example.org", "xn--bcher-kva.example")
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EXPORT_SMTP_URL", f"http://u:{SECRET}@host", "must be smtp://user:password@host:587"),
        ("EXPORT_SMTP_URL", f"{SECRET}", "must be smtp://"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}@", "must be smtp://"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}/x@host", "is not a URL"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}@host:99999", "is not a URL"),
        ("EXPORT_SMTP_URL", f"smtp://:{SECRET}@host", "only one of user and password"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}é@host", "plain ASCII"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}%0D%0ARSET@host", "plain ASCII"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}@host?starttls=maybe", "required, offered or never"),
        ("EXPORT_SMTP_URL", f"smtp://u:{SECRET}@host?tls=1", "no option after the ? but starttls"),
        ("EXPORT_SMTP_URL", f"smtps://u:{SECRET}@host?starttls=required", "takes no starttls with smtps://"),
        ("EXPORT_MAIL_FROM", "Exports", "is not a mail address such as"),
        ("EXPORT_MAIL_ATTACH_BYTES", "-1", "at least 0"),
        ("EXPORT_MAIL_LINK_TTL_SECONDS", "604801", "604800"),
        ("EXPORT_MAIL_DOMAINS", "example.org,exa mple.org", "impossible domain 'exa mple.org'"),
        ("EXPORT_PUBLIC_URL", "ftp://x", "must be a URL such as https://"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv("EXPORT_MAIL_FROM", "exports@example.org")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert problem in message
    assert "\n" not in message
    assert SECRET not in message


def test_a_server_needs_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_SMTP_URL", "smtp://mail.example.org")
    with pytest.raises(SettingsError, match=r"^EXPORT_MAIL_FROM.*must say who mails are from"):
        load_settings()


def test_delivery_is_light_and_knows_nothing_of_dagster() -> None:
    program = (
        "import sys, export_pipeline.delivery.send; "
        "print(sorted({'dagster', 'alembic', 'pandas', 'pyarrow', 'boto3', 'jinja2'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
