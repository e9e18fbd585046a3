"""The FastAPI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from export_pipeline.api import (
    backfills,
    datasets,
    downloads,
    exports,
    inline,
    links,
    problems,
    schedules,
    unsubscribes,
    webhooks,
)
from export_pipeline.api.authentication import MetricsReader, Services
from export_pipeline.api.change_notifier import ChangeNotifier
from export_pipeline.api.inline_pool import ExportPool
from export_pipeline.api.limits import CallLimit
from export_pipeline.api.middleware import CallMiddleware
from export_pipeline.api.parameters import check_parameters
from export_pipeline.api.problems import CODES, Problem, ProblemDetails, responses
from export_pipeline.api.service import Service
from export_pipeline.datasets.loading import DefsError
from export_pipeline.jobs import LedgerError
from export_pipeline.settings import Settings

_logger = logging.getLogger(__name__)
_EXPOSED_HEADERS = [
    "Location", "ETag", "Retry-After", "Preference-Applied", "X-Request-Id", "Content-Disposition",
    "Repr-Digest", "Export-Id", "Export-Rows", "Export-Total-Rows", "Export-Warnings", "Export-Snapshot-At",
]  # fmt: skip
_DESCRIPTION = """Ask for exports of an application's database, follow them, and download their files.

Errors are `application/problem+json` with a stable `code`. What belongs to another scope is not found."""


def build_app(settings: Settings) -> FastAPI:
    """Return the service for a deployment. Nothing is connected yet."""
    service = Service(settings)
    changes = ChangeNotifier(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _load(service)  # before the first call: what it imports would change libraries that calls use
        await changes.start()
        yield
        await changes.stop()
        app.state.pool.close()
        service.close()

    app = FastAPI(
        title="export_pipeline",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        separate_input_output_schemas=False,
        generate_unique_id_function=_name_operation,
        redirect_slashes=False,  # the redirection would go to the host that the caller names
    )
    app.state.service, app.state.changes = service, changes
    app.state.base_url = settings.api_url or ""
    app.state.calls = CallLimit(settings.api_calls_per_second)
    app.state.pool = ExportPool(settings)
    app.state.tokens = None
    if settings.oidc_issuer is not None:
        from export_pipeline.api.oidc import TokenVerifier

        app.state.tokens = TokenVerifier(settings)
    if settings.api_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Idempotency-Key", "If-Match", "Last-Event-ID", "Prefer"],
            expose_headers=_EXPOSED_HEADERS,
        )
    app.add_middleware(CallMiddleware)
    problems.install(app)
    for module in (exports, backfills, downloads, links, datasets, schedules, webhooks):
        app.include_router(module.router, dependencies=[Depends(check_parameters)], responses=responses(422))
    app.include_router(inline.router)
    app.include_router(links.pages)
    app.include_router(unsubscribes.pages)
    _add_operations(app)
    _describe_problems(app)
    return app


def _name_operation(route: APIRoute) -> str:
    """Return the name of an operation, which is that of its function in a generated client."""
    return f"{route.name}_head" if route.methods == {"HEAD"} else route.name


def _load(service: Service) -> None:
    try:
        _logger.info("%s datasets are loaded", len(service.datasets))
    except DefsError as error:
        _logger.error("%s", error)


def _add_operations(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def _home() -> Response:
        return RedirectResponse("/docs")

    @app.head("/healthz", include_in_schema=False)  # as monitors of availability ask
    @app.get("/healthz", tags=["operation"], response_class=PlainTextResponse)
    async def get_health() -> str:
        """Answer as long as the process lives."""
        return "ok\n"

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["operation"], response_class=PlainTextResponse, responses=responses(503))
    async def get_readiness(service: Services) -> str:
        """Answer 200 if the ledger answers and the datasets are loaded."""
        try:
            await service.run(service.ledger.now)
            await service.run(lambda: service.datasets)
        except (LedgerError, DefsError) as error:
            _logger.error("%s", error)
            what = "ledger" if isinstance(error, LedgerError) else "datasets"
            raise Problem(503, "unavailable", f"The {what} cannot be used; the log says why.") from None
        return "ready\n"

    @app.get(
        "/metrics", tags=["operation"], response_class=PlainTextResponse, responses=responses(401, 403, 503)
    )
    async def get_metrics(service: Services, caller: MetricsReader) -> str:
        """Return metrics of the queue and of the last hour's exports for Prometheus."""
        from export_pipeline.jobs.stats import Statistics
        from export_pipeline.metrics import metrics_text

        def read() -> str:
            with Statistics(service.settings.jobs_url) as statistics:
                return metrics_text(statistics)

        return await service.run(read)

    @app.get("/errors/{code}", tags=["operation"], response_class=PlainTextResponse, responses=responses(404))
    async def get_error(code: str) -> str:
        """Explain an error code."""
        if code not in CODES:
            raise problems.not_found("such error code")
        return f"{code}: {CODES[code]}\n"


def _describe_problems(app: FastAPI) -> None:
    """Describe errors in the OpenAPI document as they are, instead of FastAPI's own."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = original()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas["ProblemDetails"] = schema
            invalid = responses(422)[422]
            for path in document["paths"].values():
                for operation in path.values():
                    of_any_call = responses(
                        400, 414, 431, *((408, 413) if "requestBody" in operation else ())
                    )
                    for status, described in of_any_call.items():
                        operation["responses"].setdefault(str(status), described)
                    if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                        operation["responses"]["422"] = invalid
        assert app.openapi_schema is not None
        return app.openapi_schema

    with suppress(AttributeError):
        app.openapi = openapi  # type: ignore[method-assign]
