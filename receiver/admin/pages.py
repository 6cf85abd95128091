"""The application of the admin listener: who may ask, and what for."""

from collections.abc import Callable, Iterable
from datetime import datetime
from hmac import compare_digest
from ipaddress import ip_address

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.admin.health import Health
from receiver.errors import StoreUnavailable
from receiver.store.base import Store
from receiver.store.views import Stats

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
COUNTS = ("received", "done", "filtered", "cancelled", "pending", "running", "dead")
SOURCE_COUNTS = ("stored", "duplicates", "quarantined", "refused")


def admin_app(
    health: Health, store: Store, registry: CollectorRegistry, *, host: str, token: str, clock: Callable[[], datetime]
) -> Starlette:
    """/healthz, /readyz, /metrics. `host` is the listener's; with a `token` every request must carry it."""

    async def metrics(_request: Request) -> Response:
        try:
            stats = await store.stats(clock())
        except StoreUnavailable as fault:
            return PlainTextResponse(f"{fault}\n", 503)
        page = generate_latest(registry) + generate_latest(_registry(StatsMetrics(stats)))
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, names=_names(host), token=token)])


class Guard:
    """Refuses requests for another host (a page in a browser may have sent them) and those without the token."""

    def __init__(self, app: ASGIApp, names: frozenset[str | None], token: str) -> None:
        self._app = app
        self._names = names
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] == "http" and (refusal := self._refusal(Request(scope))):
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        given = request.headers.getlist("host")
        name = host_name(given[0]) if len(given) == 1 else ""
        if name not in self._names and not (None in self._names and _is_address(name)):
            return PlainTextResponse("This listener has another name.\n", 421)
        if self._token and not compare_digest(_bearer(request), self._token):
            return PlainTextResponse("A token is needed.\n", 401, {"www-authenticate": "Bearer"})
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def _names(host: str) -> frozenset[str | None]:
    """The names by which a listener may be addressed; None stands for any address (it listens on all)."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return LOCAL_NAMES | {None}
    return LOCAL_NAMES | {host.lower()}


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _bearer(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode() if scheme.lower() == "bearer" else b""


class StatsMetrics(Collector):
    """What `receiver stats` says, as metrics. Counters that restarts do not reset."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """One family for dispatches by handler and state, one for the oldest that waits, one for sources."""
        dispatches = GaugeMetricFamily("receiver_dispatches", "By handler and state", labels=["handler", "state"])
        oldest = GaugeMetricFamily("receiver_oldest_pending_timestamp", "Unix time", labels=["handler"])
        for handler in self._stats.handlers:
            for count in COUNTS:
                dispatches.add_metric([handler.handler, count], getattr(handler, count))
            if handler.oldest_pending_at:
                oldest.add_metric([handler.handler], handler.oldest_pending_at.timestamp())
        labels = ["source", "outcome"]
        sources = GaugeMetricFamily("receiver_source_callbacks", "Since the store was made", labels=labels)
        for source in self._stats.sources:
            for count in SOURCE_COUNTS:
                sources.add_metric([source.source, count], getattr(source, count))
        waiting = GaugeMetricFamily("receiver_quarantine", "Callbacks in quarantine now", labels=["source"])
        for name, count_now in self._stats.quarantine.items():
            waiting.add_metric([name], count_now)
        return [dispatches, oldest, sources, waiting]


def _registry(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry
