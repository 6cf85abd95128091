"""What an adapter of somebody else may do: sign, fail, answer in its own words. It never costs a callback or a 5xx."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs
from web_kit import Site

from receiver.callback import Callback, Reply
from receiver.errors import Forbidden
from receiver.events import DeliveryReport, Event, Identity, Status
from receiver.providers.base import Endpoint, ProviderSettings
from receiver.source import Source

pytestmark = pytest.mark.anyio

CANARY = "canary 31612345678"


class Acme:
    """Reads the one parameter `id`; signs with the header X-Signature."""

    name: ClassVar[str] = "acme"
    summary: ClassVar[str] = "made up"
    Settings: ClassVar[type[ProviderSettings]] = ProviderSettings
    endpoints: ClassVar[tuple[Endpoint, ...]] = (Endpoint("POST", "hook", "reports"),)
    signed: ClassVar[bool] = True

    def __init__(self, settings: Any = None) -> None: ...

    def authenticate(self, callback: Callback) -> None:
        if callback.headers.get("x-signature") != "right":
            raise Forbidden

    def parse(self, callback: Callback) -> Sequence[Event]:
        message = callback.query.decode()
        return [DeliveryReport(message_id=message, status=Status.SENT, identity=Identity(("acme", message)))]

    def home(self, callback: Callback, event: Event) -> str:
        return "hook"

    def reply(self, callback: Callback) -> Reply:
        return Reply(b'{"heard": true}', "application/json")


def fails(*_: object) -> Any:
    raise ValueError(CANARY)


@pytest.fixture
def acme(site: Site) -> Acme:
    """The adapter of a source without a secret in its URL."""
    adapter = Acme()
    site.app.intake.sources["acme"] = Source("acme", adapter, ())  # type: ignore[index]
    return adapter


async def test_a_right_signature_is_taken_and_answered_in_the_providers_words(site: Site, acme: Acme) -> None:
    answer = await site.get("/in/acme/hook?m1", x_signature="right")
    assert (answer.status, answer.body, answer.outcome) == (200, b'{"heard": true}', "stored")
    assert answer.headers["content-type"] == "application/json"


async def test_a_wrong_signature_gets_the_answer_of_strangers(site: Site, acme: Acme) -> None:
    stranger = await site.get("/in/acme/other")
    with capture_logs() as lines:
        answer = await site.get("/in/acme/hook?m1")
    assert (answer.status, answer.body, *answer.headers) == (404, stranger.body, *stranger.headers)
    assert await site.is_empty()
    assert [(line["reason"], line["address"]) for line in lines] == [("signature", "127.0.0.1")]


async def test_a_test_of_the_url_needs_no_signature(site: Site, acme: Acme) -> None:
    assert (await site.get("/in/acme/hook")).outcome == "ignored"


@pytest.mark.parametrize("verb", ["authenticate", "parse", "home"])
async def test_an_adapter_that_fails_costs_quarantine(
    site: Site, acme: Acme, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme, verb, fails)
    answer = await site.get("/in/acme/hook?m1", x_signature="right")
    assert (answer.status, answer.outcome) == (200, "quarantined")
    (kept,) = await site.quarantine()
    assert "the acme adapter failed: ValueError" in kept.reason


@pytest.mark.parametrize("nonsense", [None, 17, [17], "ab"], ids=repr)
async def test_an_adapter_that_returns_nonsense_costs_quarantine(
    site: Site, acme: Acme, nonsense: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme, "parse", lambda _: nonsense)
    assert (await site.get("/in/acme/hook?m1", x_signature="right")).outcome == "quarantined"


async def test_what_is_wrong_with_one_costs_others_of_the_same_moment_nothing(
    site: Site, acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(callback: Callback) -> Sequence[Event]:
        message = callback.query.decode()
        odd: Any = {"unreadable": fails, "no-text": lambda: (17,), "fine": lambda: ("acme", message)}
        return [DeliveryReport(message_id=message, identity=Identity(odd[message.rstrip("0123456789")]()))]

    monkeypatch.setattr(acme, "parse", parse)
    asked = ["fine1", "unreadable1", "fine2", "no-text1", "forbidden", "fine3"]
    signatures = ["wrong" if message == "forbidden" else "right" for message in asked]
    answers = await asyncio.gather(
        *(site.get(f"/in/acme/hook?{message}", x_signature=by) for message, by in zip(asked, signatures, strict=True))
    )
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 200]
    assert [answer.headers.get("receiver-outcome") for answer in answers] == [
        *("stored", "quarantined", "stored", "quarantined", None, "stored"),
    ]
    assert "the acme adapter failed: TypeError" in {kept.reason for kept in await site.quarantine()}


async def test_an_adapter_may_yield_its_events(site: Site, acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = acme.parse
    monkeypatch.setattr(acme, "parse", lambda callback: iter(parse(callback)))
    assert (await site.get("/in/acme/hook?m1", x_signature="right")).outcome == "stored"


async def test_an_adapter_that_cannot_reply_changes_nothing_for_what_is_stored(
    site: Site, acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme, "reply", fails)
    answer = await site.get("/in/acme/hook?m1", x_signature="right")
    assert (answer.status, answer.body, answer.outcome) == (200, b"OK", "stored")


async def test_the_log_says_where_an_adapter_failed_without_its_words(
    site: Site, acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme, "parse", fails)
    with capture_logs() as lines:
        answer = await site.get("/in/acme/hook?m1", x_signature="right")
    (failed,) = [line for line in lines if line["event"] == "adapter_failed"]
    assert (failed["fault"], failed["source"]) == ("ValueError", "acme")
    assert "test_adapters.py" in failed["at"]
    assert CANARY not in f"{lines}{answer}"
