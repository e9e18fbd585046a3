"""Types of settings: they turn the text of a variable into a checked value, or say what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from export_pipeline.database_url import check_database_url
from export_pipeline.delivery.addresses import parse_domain
from export_pipeline.delivery.smtp import parse_smtp_url
from export_pipeline.logo import read_logo
from export_pipeline.rights import RIGHTS
from export_pipeline.time_zones import zone_problem

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _words(text: object) -> list[str] | None:
    """Return the parts of a comma-separated text; None if it is no text, so that pydantic refuses it."""
    return [word.strip() for word in text.split(",") if word.strip()] if isinstance(text, str) else None


def check_source_url(url: str) -> str:
    """Return a database's URL with a scheme that SQLAlchemy accepts."""
    check_database_url(url)
    # Hosting providers and PostgreSQL's tools write postgres://, which SQLAlchemy does not accept.
    return url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url


def _without_credentials(url: str) -> str:
    if "@" in url.partition("://")[2].partition("?")[0]:
        raise ValueError("takes no user and no password: it is shown to people")
    return url


def _web_address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


def _public_files(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError("must be a URL such as https://exports.example.org/files")
    return url


def _issuer(url: str) -> str:
    if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ValueError("must begin with https://")
    return url


def _store(url: str) -> str:
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme not in ("file", "s3"):
        raise ValueError(f"must be a folder, file:///folder or s3://bucket/prefix, not {scheme}://")
    if scheme == "s3" and "@" in url:
        raise ValueError("takes no user and no password; AWS's own settings hold them")
    if scheme == "s3" and not url.removeprefix("s3://").partition("/")[0]:
        raise ValueError("names no bucket; write it as s3://bucket/prefix")
    return url


def _logo(path: Path) -> Path:
    read_logo(path)
    return path


def _images(place: str | Path) -> str | Path:
    if str(place).startswith("s3://"):
        return _store(str(place))
    if not Path(place).is_dir():
        raise ValueError(f"must be a folder that every worker sees, or s3://bucket/prefix, not {place}")
    return Path(place)


def _color(text: str) -> str:
    if not re.fullmatch("(#[0-9A-Fa-f]{6})?", text):
        raise ValueError("must be a colour such as #2B579A")
    return text


def _mail_server(url: str) -> str:
    parse_smtp_url(url)
    return url


def _domains(text: object) -> object:
    if (names := _words(text)) is None:
        return text
    return tuple(parse_domain(name) for name in (name.removeprefix("@") for name in names) if name)


def _datasets_of_types(text: object) -> object:
    if (words := _words(text)) is None:
        return text
    pairs = [word.partition("=") for word in words]
    if not all(name.strip() and dataset.strip() for name, _, dataset in pairs):
        raise ValueError("must be TYPE=dataset or TYPE=dataset:preset, with commas between them")
    return {name.strip(): dataset.strip() for name, _, dataset in pairs}


def _networks(text: object) -> object:
    return text if (words := _words(text)) is None else tuple(ipaddress.ip_network(word) for word in words)


def _origins(text: object) -> object:
    if (origins := _words(text)) is None:
        return text
    if not all(re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", origin) for origin in origins):
        raise ValueError("must be origins such as https://app.example.org, without a path, with commas")
    return tuple(origins)


def _rights(text: object) -> object:
    if (rights := _words(text)) is None:
        return text
    if unknown := [right for right in rights if right not in RIGHTS]:
        raise ValueError(f"there is no right {unknown[0]!r}; there are {', '.join(RIGHTS)}")
    return tuple(rights)


def _zone(name: str) -> str:
    if problem := zone_problem(name):
        raise ValueError(problem)
    return name


EMPTY_IS_UNSET = BeforeValidator(lambda value: value or None)
"""For optional settings: an empty variable is as good as none."""

SourceUrl = Annotated[str, AfterValidator(check_source_url)]
StoreUrl = Annotated[str, AfterValidator(_store)]
ShownUrl = Annotated[str, AfterValidator(_without_credentials)]
WebAddress = Annotated[ShownUrl, AfterValidator(_web_address)]
PublicUrl = Annotated[ShownUrl, AfterValidator(_public_files)]
IssuerUrl = Annotated[str, AfterValidator(_issuer)]
SmtpUrl = Annotated[str, AfterValidator(_mail_server)]
Domains = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_domains)]
DatasetsOfTypes = Annotated[Mapping[str, str], NoDecode, BeforeValidator(_datasets_of_types)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
Rights = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_rights)]
Logo = Annotated[Path, AfterValidator(_logo)]
PageImages = Annotated[Path | str, BeforeValidator(_images)]
Color = Annotated[str, AfterValidator(_color)]
TimeZone = Annotated[str, AfterValidator(_zone)]
