"""The command `serve`. Its process imports nothing that the HTTP service does not need."""

from __future__ import annotations

import socket
from typing import Annotated

import typer
from dotenv import load_dotenv
from typer.exceptions import TyperException

from export_pipeline.cli.console import UserError, print_error
from export_pipeline.jobs import LedgerError
from export_pipeline.settings import ENV_FILE, SettingsError, load_settings

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Put a proxy with TLS before it for others.")
    ] = "127.0.0.1",
) -> None:
    """Start the HTTP service: exports by HTTP, download links. See docs/api.md.

    Examples: `export-pipeline serve`, `export-pipeline serve --host 0.0.0.0 --port 80`
    """
    settings = load_settings()
    listener = _listen(host, port)
    from export_pipeline.api.server import run_server

    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"The HTTP service listens on http://{shown}:{listener.getsockname()[1]}")
    run_server(settings, listener)


def run_alone(arguments: list[str]) -> int:
    """Run the command alone, without the modules of all others, and return its exit code."""
    try:
        load_settings()
        load_dotenv(ENV_FILE)
        return int(app(arguments, standalone_mode=False) or 0)
    except (UserError, SettingsError, TyperException) as error:
        message = error.format_message() if isinstance(error, TyperException) else str(error)
        print_error(message)
        return 2
    except LedgerError as error:
        print_error(str(error))
        return 1


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise UserError(
            f"{host}:{port} cannot be used: {error.strerror or error}; end what listens there, or choose "
            "another port with --port."
        ) from None
