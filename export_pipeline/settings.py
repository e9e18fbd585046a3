"""The settings: environment variables, typed and checked at startup."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from export_pipeline.database_url import parse_database_url, sqlite_url
from export_pipeline.delivery.addresses import parse_address
from export_pipeline.env_file import check_names
from export_pipeline.redaction import RedactedError, remember_credentials, remember_secret
from export_pipeline.setting_types import (
    EMPTY_IS_UNSET,
    Color,
    DatasetsOfTypes,
    Domains,
    IssuerUrl,
    Logo,
    Networks,
    Origins,
    PageImages,
    PublicUrl,
    Rights,
    ShownUrl,
    SmtpUrl,
    SourceUrl,
    StoreUrl,
    TimeZone,
    WebAddress,
    check_source_url,
)

_PREFIX = "EXPORT_"
ENV_FILE = Path(".env")


class SettingsError(RedactedError):
    """Raised when a setting is invalid. The message is one line that names the environment variable."""


class Settings(BaseSettings):
    """Settings of one deployment, from the environment or a `.env` file in the working folder."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    source_url: SourceUrl = Field(
        description="SQLAlchemy URL of the application's database, which is only read.",
        default_factory=lambda: sqlite_url(Path.cwd() / "demo_data" / "applications.db"),
    )
    statement_timeout_seconds: Annotated[
        float, Field(ge=0, description="Timeout of one query; 0 for none.")
    ] = 900
    jobs_schema: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z_][A-Za-z0-9_]*$",
            description="PostgreSQL schema of the ledger's tables; empty for the connection's default.",
        ),
        EMPTY_IS_UNSET,
    ] = None
    jobs_url: str = Field(
        description="SQLAlchemy URL of the ledger: a PostgreSQL or SQLite database that stores the requests; "
        "default: the application's.",
        default_factory=lambda known: _in_schema(known.get("source_url", ""), known.get("jobs_schema")),
        validate_default=False,  # with a source of another kind exports still work, but not requests by rows
    )
    store_url: StoreUrl = Field(
        description="Store of export files: a folder, file:///folder or s3://bucket/prefix.",
        default_factory=lambda: _default_store(),
    )
    staging_url: StoreUrl = Field(
        description="Local folder for data between the steps of a run; or s3://bucket/prefix, where steps of "
        "one run are on several machines.",
        default_factory=lambda: str(Path.cwd() / ".staging"),
    )
    executor: Annotated[
        Literal["in_process", "multiprocess", "k8s_job"],
        Field(
            description="Where the steps of a run work: in the process of the run, each in a process of its "
            "own, or each in a pod of its own, which needs EXPORT_STAGING_URL=s3://…"
        ),
    ] = "in_process"
    files_group: Annotated[
        str | None,
        Field(description="Group that may read the files of a folder store; empty: only their owner."),
        EMPTY_IS_UNSET,
    ] = None
    s3_endpoint_url: Annotated[
        ShownUrl | None, Field(description="URL of an S3-compatible server; empty for AWS.")
    ] = None
    s3_public_endpoint_url: Annotated[
        ShownUrl | None, Field(description="Endpoint for which download links are signed, if it differs.")
    ] = None
    s3_region: Annotated[
        str | None, Field(description="Region of the bucket, if AWS's own configuration has none.")
    ] = None
    s3_sse: Annotated[
        Literal["AES256", "aws:kms"] | None, Field(description="Server-side encryption of new files.")
    ] = None
    s3_sse_kms_key_id: Annotated[str | None, Field(description="Key for aws:kms, if not the default.")] = None
    s3_checksums: Annotated[
        Literal["required", "off"],
        Field(description="Send S3's checksum headers; off: each file is read again instead."),
    ] = "required"
    link_ttl_seconds: Annotated[
        int, Field(ge=1, le=604_800, description="Lifetime of a download link; at most 7 days.")
    ] = 3600
    retention_days: Annotated[
        int,
        Field(ge=1, description="Days that a requested file is kept, unless its dataset sets them."),
    ] = 7
    events_days: Annotated[int, Field(ge=1, description="Days that events of ended requests are kept.")] = 365
    run_retention_days: Annotated[
        int,
        Field(ge=1, description="Days that Dagster keeps a run and its log; the request stays."),
    ] = 30
    max_in_flight: Annotated[
        int, Field(ge=1, description="Maximum number of requests that are processed or dispatched at a time.")
    ] = 10
    extra_seconds: Annotated[
        float,
        Field(
            ge=0,
            description="Least time that a run goes on with small requests that wait; 0: a run for each.",
        ),
    ] = 3
    max_partitions: Annotated[
        int,
        Field(ge=0, description="Partitions of an asset beyond which `health` gives advice; 0 for no limit."),
    ] = 100_000
    max_backfill_partitions: Annotated[
        int, Field(ge=0, description="Maximum number of partitions of a backfill in Dagster; 0 for no limit.")
    ] = 5_000
    outage_seconds: Annotated[
        float,
        Field(ge=0, description="Time that a run waits for an unavailable ledger, source or store."),
    ] = 600
    ui_url: Annotated[WebAddress, Field(description="Address of Dagster's UI, for links to runs.")] = (
        "http://127.0.0.1:3000"
    )
    smtp_url: Annotated[
        SmtpUrl | None,
        Field(
            repr=False,
            description="Mail server: smtp://user:password@host:587 or smtps://…:465; for smtp:// "
            "?starttls=required, offered (the default) or never. Empty: no mail is sent.",
        ),
        EMPTY_IS_UNSET,
    ] = None
    mail_from: Annotated[
        str | None,
        Field(description="Sender of mails, e.g. Exports <exports@example.org>.", validate_default=True),
        EMPTY_IS_UNSET,
    ] = None
    mail_attach_bytes: Annotated[
        int,
        Field(ge=0, description="Maximum size of an attachment as encoded (37 % more than the file)."),
    ] = 7_000_000
    mail_link_ttl_seconds: Annotated[
        int, Field(ge=1, le=604_800, description="Lifetime of a link in a mail; at most 7 days.")
    ] = 604_800
    mail_domains: Annotated[
        Domains,
        Field(description="Allowed domains of recipients, separated by commas; empty for all."),
    ] = ()
    public_url: Annotated[
        PublicUrl | None,
        Field(description="Address at which your web server serves the store's folder; for links in mails."),
        EMPTY_IS_UNSET,
    ] = None
    api_url: Annotated[
        WebAddress | None,
        Field(description="Public address of the HTTP service, e.g. https://exports.example.org."),
        EMPTY_IS_UNSET,
    ] = None
    queue_url: Annotated[
        WebAddress | None,
        Field(description="An SQS queue whose messages ask for exports; empty: none."),
        EMPTY_IS_UNSET,
    ] = None
    queue_types: Annotated[
        DatasetsOfTypes,
        Field(
            description="Datasets of the types of TABLE_EXPORT messages: SOW=sow_library:base,RFP=rfp. After "
            "the colon a preset; a type that is not named is the dataset of its name in small letters."
        ),
    ] = {}
    webhook_key: Annotated[
        str | None,
        Field(
            min_length=32,
            repr=False,
            description="The secrets of all webhooks follow from it; `openssl rand -base64 32` makes one.",
        ),
        EMPTY_IS_UNSET,
    ] = None
    webhook_networks: Annotated[
        Networks,
        Field(
            description="Networks that webhooks may go to though not public, e.g. 10.0.0.0/8; with commas."
        ),
    ] = ()
    webhook_http: Annotated[bool, Field(description="Allow webhooks to http:// addresses.")] = False
    api_calls_per_second: Annotated[
        float, Field(ge=0, description="Calls of one caller of the HTTP service; 0 for no limit.")
    ] = 1000
    api_max_pending: Annotated[
        int,
        Field(ge=0, description="Exports of one scope that may wait, and of one backfill; 0 for no limit."),
    ] = 1000
    api_origins: Annotated[
        Origins,
        Field(
            description="Origins whose scripts may call the HTTP service, e.g. https://app.example.org; with "
            "commas. Empty: none."
        ),
    ] = ()
    oidc_issuer: Annotated[
        IssuerUrl | None,
        Field(description="OpenID Connect issuer whose tokens the HTTP service accepts."),
        EMPTY_IS_UNSET,
    ] = None
    oidc_audience: Annotated[
        str | None,
        Field(description="Audience that tokens must name.", validate_default=True),
        EMPTY_IS_UNSET,
    ] = None
    oidc_jwks_url: Annotated[
        IssuerUrl | None,
        Field(description="Address of the issuer's keys; by default as the issuer says."),
        EMPTY_IS_UNSET,
    ] = None
    oidc_person_claim: Annotated[
        str, Field(description="Claim that says who asks: sub, email or another one.")
    ] = "sub"
    oidc_scopes_claim: Annotated[
        str, Field(description="Claim with the scopes that a person may export.")
    ] = "export_scopes"
    oidc_rights: Annotated[Rights, Field(description="Rights of people with a token, with commas.")] = (
        "exports:read",
        "exports:write",
        "links:create",
        "schedules:read",
        "schedules:write",
    )
    pdf_logo: Annotated[
        Logo | None,
        Field(description="PNG, JPEG or SVG file on the first page of PDFs, up to 2 MB."),
        EMPTY_IS_UNSET,
    ] = None
    page_images: Annotated[
        PageImages | None,
        Field(
            description="Place of the application's pictures of plan pages, for drawings of takeoffs: a "
            "folder, or s3://bucket/prefix with the endpoint and the credentials of S3."
        ),
        EMPTY_IS_UNSET,
    ] = None
    pdf_color: Annotated[Color, Field(description="Colour of headings in PDFs, e.g. #2B579A.")] = ""
    pdf_address: Annotated[
        str, Field(max_length=500, description="Lines beside the logo, separated by `|`.")
    ] = ""
    pdf_footer: Annotated[str, Field(max_length=200, description="A line at the foot of each page.")] = ""
    timezone: Annotated[
        TimeZone, Field(description="IANA zone of schedules and of daily, weekly and monthly windows.")
    ] = "UTC"

    @field_validator("jobs_url")
    @classmethod
    def _ledger_url(cls, url: str, info: ValidationInfo) -> str:
        url = _in_schema(check_source_url(url), info.data.get("jobs_schema"))
        if parse_database_url(url).get_backend_name() not in ("postgresql", "sqlite"):
            raise ValueError("must be a database of PostgreSQL or SQLite; no other can keep requests")
        return url

    @field_validator("staging_url")
    @classmethod
    def _staging_is_apart(cls, url: str, info: ValidationInfo) -> str:
        if url.startswith("s3://"):
            folder = f"{url.rstrip('/')}/"
            if folder.count("/") < 4:
                raise ValueError("needs a prefix of its own, such as s3://bucket/staging")
            if f"{info.data.get('store_url', '').rstrip('/')}/".startswith(folder):
                raise ValueError("must not contain EXPORT_STORE_URL, as staged files are removed after a day")
        return url

    @field_validator("executor")
    @classmethod
    def _pods_share_staging(cls, executor: str, info: ValidationInfo) -> str:
        if executor == "k8s_job" and not str(info.data.get("staging_url", "")).startswith("s3://"):
            raise ValueError("needs EXPORT_STAGING_URL=s3://…, as pods share no disk")
        return executor

    @field_validator("mail_from")
    @classmethod
    def _mail_sender(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            try:
                parse_address(text)
            except ValueError as error:
                raise ValueError(f"{error}; write it as Exports <exports@example.org>") from None
        elif info.data.get("smtp_url"):
            raise ValueError("must say who mails are from, as EXPORT_SMTP_URL is set")
        return text

    @field_validator("oidc_audience")
    @classmethod
    def _audience(cls, audience: str | None, info: ValidationInfo) -> str | None:
        if audience is None and info.data.get("oidc_issuer") is not None:
            raise ValueError("must be set, as EXPORT_OIDC_ISSUER is")
        return audience

    @property
    def mail_links_are_local(self) -> bool:
        """True if links in mails name files of this machine, which recipients cannot open."""
        return not self.store_url.startswith("s3://") and not (self.public_url or self.api_url)

    @property
    def staging_folder(self) -> Path:
        """Folder of this machine in which steps of runs keep data."""
        if self.staging_url.startswith("s3://"):
            return Path(tempfile.gettempdir()) / f"export-pipeline-staging-{os.getuid()}"
        return Path(self.staging_url.removeprefix("file://")).absolute()


def _default_store() -> str:
    """Return `./store`, or `./exports` where an older version has put files."""
    old = Path.cwd() / "exports"
    return str(old if (old / "exports").is_dir() else Path.cwd() / "store")


def _in_schema(url: str, schema: str | None) -> str:
    """Return a PostgreSQL URL that creates and looks up tables in a schema."""
    if not schema or not url.startswith("postgres"):
        return url
    parsed = parse_database_url(url)
    options = f"{parsed.query.get('options', '')} -csearch_path={schema}".strip()
    return parsed.update_query_dict({"options": options}).render_as_string(hide_password=False)


def load_settings() -> Settings:
    """Load the settings of this process.

    Raises:
        SettingsError: a variable is invalid or misspelt, or a line of `.env` cannot be read. The message is
            one line about the first problem. It repeats only numbers, as other values may hold secrets.
    """
    try:
        check_names(_PREFIX, [name.upper() for name in Settings.model_fields], ENV_FILE)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    try:
        file = ENV_FILE.read_bytes() if ENV_FILE.is_file() else None
        settings = _parse(frozenset(os.environ.items()), file, Path.cwd(), _default_store())
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A default that is computed from an invalid setting is not an error itself.
        first, *others = [one for one in problems if one["type"] != "default_factory_not_called"]
        name = f"{_PREFIX}{'_'.join(str(part) for part in first['loc'])}".upper()
        field = Settings.model_fields[str(first["loc"][0])]
        message = _number(field, first["input"]) or first["msg"].removeprefix("Value error, ")
        are = "setting is" if len(others) == 1 else "settings are"
        more = f" ({len(others)} more {are} wrong)" if others else ""
        where = "" if name in os.environ or first["input"] is None else " (from .env)"
        raise SettingsError(f"{name}{where}: {message}{more}") from None
    for url in (settings.source_url, settings.jobs_url, settings.smtp_url):
        remember_credentials(url or "")
    remember_secret(settings.webhook_key or "")
    return settings


@lru_cache(4)
def _parse(
    _environment: frozenset[tuple[str, str]], _file: bytes | None, _folder: Path, _store: str
) -> Settings:
    """Parse the settings anew only if something has changed that they depend on: it takes 5 ms, and runs and
    ticks read them often.
    """
    return Settings()


def _number(field: FieldInfo, value: object) -> str:
    """Return a message about the valid range of a numeric setting and its value; empty for other settings."""
    if field.annotation not in (int, float):
        return ""
    least = next(limit.ge for limit in field.metadata if hasattr(limit, "ge"))
    most = next((limit.le for limit in field.metadata if hasattr(limit, "le")), None)
    kind = "a whole number" if field.annotation is int else "a number"
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    return f"must be {kind} {limits}, not {value!r}"
