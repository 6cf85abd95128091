"""The base of all ratios: a bare Starlette route that answers 200 and stores nothing."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks import wire


async def answer(_: Request) -> PlainTextResponse:
    """200, at once."""
    return PlainTextResponse("OK")


app = Starlette(routes=[Route(wire.path(kind), answer, methods=["GET", "POST"]) for kind in ("dlr", "mo", "bulkvs")])
