"""What the tests of the simulator share: a small receiver that can misbehave, at the other end of real HTTP."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from receiver.callback import Callback
from receiver.cli.simulate import bulkvs as bulkvs_shape
from receiver.cli.simulate import spryng as spryng_shape
from receiver.cli.simulate.run import Plan, Run
from receiver.cli.simulate.tally import Tally
from receiver.cli.simulate.target import Target, from_url
from receiver.providers.bulkvs import BulkVS, BulkVSSettings
from receiver.providers.spryng import Spryng, SpryngSettings

SHAPES = {"spryng": spryng_shape.SHAPE, "bulkvs": bulkvs_shape.SHAPE}
READERS = {"spryng": Spryng(SpryngSettings()), "bulkvs": BulkVS(BulkVSSettings())}


class Receiver:
    """Answers as the receiver does; `instead` may answer otherwise, or break the connection by returning None."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.known: dict[str, str] = {}
        self.seen: list[web.Request] = []
        self.instead: Callable[[int, web.Request], web.Response | bool | None] = lambda _number, _request: True
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(request)
        other = self.instead(len(self.seen), request)
        if isinstance(other, web.Response):
            return other
        said = self.take(request, body)
        if other is None:
            assert request.transport is not None
            request.transport.abort()
        return said

    def take(self, request: web.Request, body: bytes) -> web.Response:
        callback = Callback(
            source=self.provider,
            endpoint=request.path.split("/")[3],
            method=request.method,
            query=request.rel_url.raw_query_string.encode(),
            body=body,
            content_type=request.headers.get("Content-Type", ""),
            received_at=datetime.now(UTC),
        )
        (event,) = READERS[self.provider].parse(callback)
        key = hashlib.sha256("\0".join(event.identity.values).encode()).hexdigest()
        if event.identity.certain and key in self.known:
            return said("duplicate", self.known[key])
        self.known[key] = f"event-{len(self.known)}"
        return said("stored", self.known[key])


def said(outcome: str, event: str) -> web.Response:
    return web.Response(text="OK", headers={"Receiver-Outcome": outcome, "Receiver-Event": event})


@contextlib.asynccontextmanager
async def listening(provider: str) -> AsyncIterator[Receiver]:
    receiver = Receiver(provider)
    application = web.Application()
    application.router.add_route("*", "/in/{rest:.*}", receiver.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def plan(provider: str, target: Target, **changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "count": 40,
        "mix": {"dlr": 50, "mo": 50},
        "duplicates": 10,
        "rate": 0,
        "speedup": 6000,
        "give_up": None,
        "connections": 8,
        "seed": 7,
    }
    return Plan(shape=SHAPES[provider], target=target, **(usual | changes))


async def play(receiver: Receiver, **changes: Any) -> Tally:
    return await Run(plan(receiver.provider, from_url(receiver.base, receiver.provider), **changes)).run()
