"""Wires settings, store and providers into the two applications, and routes between them by listener."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver import plugins, web
from receiver.admin.health import Health
from receiver.admin.pages import admin_app
from receiver.config import Settings
from receiver.config import Source as Configured
from receiver.fairness import Pace
from receiver.journal import RequestLog
from receiver.metrics import Meter
from receiver.source import Source, digest
from receiver.store.base import Store

ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
HEALTH = HEALTHZ, READYZ = "/healthz", "/readyz"


class App:
    """The ASGI application of both listeners: health and the admin's pages by their names, all else to the intake."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Callable[[], datetime],
        refused: Callable[[str], None],
    ) -> None:
        """`refused` is told the name of a source that was asked with a wrong secret."""
        self.meter = meter = Meter()
        self.intake = web.Intake(
            {name: web_source(source) for name, source in settings.sources.items()},
            store,
            max_body=settings.server.max_body,
            max_in_flight=settings.server.max_in_flight,
            trusted=settings.server.trusted_proxies,
            clock=clock,
            meter=meter,
            journal=RequestLog(),
            refused=refused,
        )
        path = settings.store.path
        self.health = Health(store, self.intake, path and path.parent, clock)
        listener = settings.server.admin_listen
        token = settings.server.admin_token or ""
        self._admin = admin_app(self.health, store, meter.registry, host=listener.host, token=token, clock=clock)
        self._public = Starlette(routes=[Route(HEALTHZ, self.health.healthz), Route(READYZ, self.health.readyz_public)])
        self._admin_address: tuple[str, int | None] | None = None

    def adopt(self, settings: Settings) -> None:
        """Take over the sources and limits of another configuration."""
        self.intake.adopt(
            {name: web_source(source) for name, source in settings.sources.items()},
            max_body=settings.server.max_body,
            max_in_flight=settings.server.max_in_flight,
            trusted=settings.server.trusted_proxies,
        )

    def admin_is_at(self, address: tuple[str, int | None]) -> None:
        """Which listener is the admin's: what its sockets' connections have as `server`."""
        self._admin_address = address

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request, to the application it is for. The intake needs no task; what is Starlette's does."""
        application = self._application(scope)
        answer = application(scope, receive, send)
        return answer if application is self.intake else asyncio.ensure_future(answer)

    def _application(self, scope: Scope) -> ASGIApp:
        if self._admin_address and _same(scope["server"], self._admin_address):
            return self._admin
        return self._public if scope["path"] in HEALTH else self.intake


def web_source(source: Configured) -> Source:
    """A configured source as the intake needs it."""
    provider_class = plugins.provider_class(source.provider)
    return Source(
        source.name,
        provider_class(source.adapter),
        tuple(digest(secret) for secret in source.secrets),
        allow_from=tuple(source.allow_from),
        open=not (source.secrets or source.allow_from or provider_class.signed),
        pace=Pace(source.rate_limit) if source.rate_limit else None,
        dedupe=source.mo_dedupe == "unanswered",
    )


def _same(server: tuple[str, int | None], admin: tuple[str, int | None]) -> bool:
    """Whether a request came to the admin listener: by port and address, or by path for a unix socket."""
    return server[1] == admin[1] and (server[0] == admin[0] or admin[0] in ANY)
