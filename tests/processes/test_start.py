"""`receiver serve` begins: with nothing configured, with much, and beside what it cannot work with."""

import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from drills.waiting import is_running, until
from drills.yard import AUDIT, DROP_INS, KEEPING, OWN, Command, Provider, Yard

pytestmark = pytest.mark.anyio

BOOK = '[handlers.book]\nuse = "log"\nfile = "book.jsonl"\n'
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DLR = "/in/spryng/dlr?ID=a1&RECIPIENT=31612345678&STATUS=10&OPERATOR_STATUS_AT=20260302104158"
EMOJI = b"MSISDN=31612345678&SHORTCODE=3010&KEYWORD=JA&PARM=graag+%F0%9F%98%80&TIMESTAMP=20260302104158"
NAMELESS = b'{"From": "13105551212", "To": ["13109060901"], "Message": "OK"}'
RECEIPT = (
    b'{"From": "19415550101", "To": ["19544829099"], "DeliveryReceipt": true, "Message": "id:1162999967 sub:001'
    b' dlvrd:001 submit date:2609160247 done date:2609160248 stat:DELIVRD err:000 text:Dream Te..."}'
)


async def four(url: str) -> list[tuple[int, str, str]]:
    """Send a report, a message with an emoji, one without identity and a receipt: status, outcome and event of each."""
    async with aiohttp.ClientSession(url) as http:
        answers = [
            await http.get(DLR),
            await http.post("/in/spryng/mo", data=EMOJI, headers=FORM),
            await http.post("/in/bulkvs/webhook", data=NAMELESS),
            await http.post("/in/bulkvs/webhook", data=RECEIPT),
        ]
        for answer in answers:
            await answer.read()
        return [(one.status, one.headers["Receiver-Outcome"], one.headers["Receiver-Event"]) for one in answers]


@dataclass
class Trial:
    """A receiver without configuration that was sent the four."""

    yard: Yard
    serve: Command
    answers: list[tuple[int, str, str]]


@pytest.fixture(scope="module")
async def trial(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trial]:
    async with Yard.opened(tmp_path_factory.mktemp("trial")) as yard:
        serve = await yard.serve()
        yield Trial(yard, serve, await four(serve.url))


async def printed(serve: Command, count: int) -> list[dict[str, Any]]:
    """What the `log` handler printed, when there is so much of it."""
    lines: list[dict[str, Any]] = await until(lambda: serve.lines if len(serve.lines) >= count else None)
    return lines


async def test_nothing_needs_to_be_configured(trial: Trial) -> None:
    assert [(status, outcome) for status, outcome, _ in trial.answers] == [(200, "stored")] * 4
    lines = await printed(trial.serve, 4)
    assert [line["id"] for line in lines[:4]] == [event for *_, event in trial.answers]
    report, emoji, nameless, receipt = (line["data"] for line in lines[:4])
    assert (report["kind"], report["recipient"], report["status"]) == ("dlr", "+31*******78", "delivered")
    assert (emoji["kind"], emoji["originator"], emoji["text"]) == ("mo", "+31*******78", "10 characters")
    assert (nameless["kind"], nameless["originator"], nameless["text"]) == ("mo", "+13*******12", "2 characters")
    assert (receipt["kind"], receipt["recipient"], receipt["status"]) == ("dlr", "+19*******01", "delivered")
    assert "31612345678" not in trial.serve.stdout.read_text() + trial.serve.words


async def test_what_comes_again_is_stored_once_unless_nothing_tells_it_from_a_second_one(trial: Trial) -> None:
    first, again = trial.answers, await four(trial.serve.url)
    assert [outcome for _, outcome, _ in again] == ["duplicate", "duplicate", "stored", "duplicate"]
    assert [event for *_, event in again[:2] + again[3:]] == [event for *_, event in first[:2] + first[3:]]
    second = (await printed(trial.serve, 5))[4]
    assert (second["id"], second["data"]["suspected_duplicate_of"]) == (again[2][2], first[2][2])
    assert len(await trial.yard.events()) == 5


async def test_a_second_serve_on_a_store_names_the_first(trial: Trial) -> None:
    status, _, words = await trial.yard.run("serve")
    assert status == 69
    assert f"receiver.db is in use by another receiver (pid {trial.serve.pid})" in words
    assert is_running(trial.serve.pid)


async def test_a_port_in_use_names_who_has_it(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, words = await yard.run("serve", "--listen", f"127.0.0.1:{port}")
    assert status == 69
    assert f"127.0.0.1:{port} is in use by" in words
    assert f"(pid {os.getpid()})" in words
    assert not (yard.folder / "receiver.db").exists()


async def test_a_typo_is_one_line_with_the_right_spelling(yard: Yard) -> None:
    file = yard.configure("[server]\nmaxbody = 5\n")
    status, _, words = await yard.run("serve")
    faults = [line for line in words.splitlines() if not line.startswith("configuration:")]
    assert (status, len(faults)) == (78, 1)
    assert faults[0].startswith(f"{file}: server.maxbody: ")
    assert "max_body" in faults[0]


@pytest.mark.parametrize(
    ("tables", "place"),
    [
        (AUDIT + "reveel = true\n", "handlers.audit.reveel"),
        (DROP_INS + OWN + "reveel = true\n", "handlers.own.reveel"),
    ],
    ids=["built-in", "own"],
)
async def test_a_key_that_only_the_handler_knows_to_be_wrong_ends_serve_too(
    yard: Yard, tables: str, place: str
) -> None:
    yard.drop_in("own", KEEPING)
    file = yard.configure(tables)
    status, _, words = await yard.run("serve")
    assert status == 78
    assert [line for line in words.splitlines() if line.startswith(f"{file}: {place}: ")], words


async def test_only_serve_makes_a_database(yard: Yard) -> None:
    status, out, words = await yard.run("events", "--json")
    assert (status, out) == (78, "")
    assert "no database at" in words
    assert not (yard.folder / "receiver.db").exists()


async def test_an_added_handler_begins_at_the_end_and_a_removed_one_keeps_its_place(yard: Yard) -> None:
    provider = Provider()
    await _one_report_with(yard, provider, book=BOOK)
    await _one_report_with(yard, provider, audit=AUDIT)
    book, audit = await yard.counters("book"), await yard.counters("audit")
    assert (book.state, book.done, book.pending) == ("absent", 1, 1)
    assert (audit.state, audit.received, audit.done) == ("ok", 1, 1)
    await _one_report_with(yard, provider, book=BOOK, audit=AUDIT)
    written = (yard.folder / "book.jsonl").read_text().splitlines()
    assert [json.loads(line)["subject"] for line in written] == ["m-0", "m-1", "m-2"]
    assert (await yard.counters("audit")).done == 2


async def _one_report_with(yard: Yard, provider: Provider, **handlers: str) -> None:
    """A life of `serve` with these handlers, in which one report comes and all of them take it."""
    yard.configure(*handlers.values())
    serve = await yard.serve()
    await provider.send(serve.url)
    for name in handlers:
        await yard.settled(name)
    await serve.stop()
