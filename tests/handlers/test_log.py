"""Log: to files, pipes and terminals, rotated, full, closed and blocked."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from receiver.handlers.log import Log, human

from receiver import Attempt, DeliveryReport, InboundMessage, Notice, Unavailable

pytestmark = pytest.mark.anyio

NUMBERS = ("612345678", "970001122")


@pytest.fixture(autouse=True)
def amsterdam(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the wall is Amsterdam's."""
    with monkeypatch.context() as during:
        during.setenv("TZ", "Europe/Amsterdam")
        time.tzset()
        yield
    time.tzset()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# -- JSON


async def test_a_file_gets_one_json_object_a_line(
    opened: Any, dlr: DeliveryReport, mo: InboundMessage, attempt: Attempt, tmp_path: Path
) -> None:
    handler = await opened(Log, file="events.log")
    for event in (dlr, mo):
        await handler.handle(event, attempt)
    assert [line["id"] for line in lines(tmp_path / "events.log")] == [dlr.id, mo.id]


async def test_a_line_is_written_when_handle_returns(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, capfd: pytest.CaptureFixture[str]
) -> None:
    await (await opened(Log)).handle(dlr, attempt)
    assert json.loads(capfd.readouterr().out)["data"]["status"] == "delivered"


async def test_numbers_and_texts_are_masked(
    opened: Any, dlr: DeliveryReport, mo: InboundMessage, attempt: Attempt, tmp_path: Path
) -> None:
    handler = await opened(Log, file="events.log")
    for event in (dlr, mo):
        await handler.handle(event, attempt)
    written = (tmp_path / "events.log").read_text()
    assert not [told for told in (*NUMBERS, "geheim", "PARKEN", "media.example") if told in written]
    report, message = (line["data"] for line in lines(tmp_path / "events.log"))
    assert report["recipient"] == "+31*******78"
    assert report["originator"] is None
    assert message["text"] == "13 characters"
    assert message["recipients"] == ["+31*******22"]


async def test_masked_or_not_every_key_is_there(
    opened: Any, dlr: DeliveryReport, mo: InboundMessage, notice: Notice, attempt: Attempt, tmp_path: Path
) -> None:
    handler = await opened(Log, file="events.log")
    for event in (dlr, mo, notice):
        await handler.handle(event, attempt)
    assert [line["data"].keys() for line in lines(tmp_path / "events.log")] == [
        event.data.keys() for event in (dlr, mo, notice)
    ]


async def test_reveal_writes_the_event_as_it_is(
    opened: Any, mo: InboundMessage, attempt: Attempt, tmp_path: Path
) -> None:
    await (await opened(Log, file="events.log", reveal=True)).handle(mo, attempt)
    assert lines(tmp_path / "events.log") == [json.loads(mo.to_json())]


async def test_no_text_can_make_a_second_line(
    opened: Any, mo: InboundMessage, attempt: Attempt, tmp_path: Path
) -> None:
    said = "a\nb\rc\x85d\u2028e\x1b[2J\x9b"
    await (await opened(Log, file="events.log", reveal=True)).handle(replace(mo, text=said), attempt)
    written = (tmp_path / "events.log").read_bytes()
    assert written.count(b"\n") == 1
    assert written.isascii()
    assert json.loads(written)["data"]["text"] == said


# -- a terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Stdout is a terminal; this is the end the person sits at."""
    seat, line = os.openpty()
    with os.fdopen(line, "w") as stdout:
        monkeypatch.setattr(sys, "__stdout__", stdout)
        yield seat
    os.close(seat)


async def test_a_terminal_gets_a_line_for_people(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, terminal: int
) -> None:
    await (await opened(Log)).handle(dlr, attempt)
    assert os.read(terminal, 999).decode().rstrip() == (
        "11:42:00  dlr  spryng   delivered    +31*******78   order-42   6 s after it was submitted"
    )


async def test_a_replay_says_so(opened: Any, dlr: DeliveryReport, attempt: Attempt, terminal: int) -> None:
    await (await opened(Log)).handle(dlr, replace(attempt, replay=2))
    assert os.read(terminal, 999).decode().rstrip().endswith("   replay 2")


def test_a_failure_says_why(failed: DeliveryReport) -> None:
    assert "failed (unreachable)   +31*******78" in human(failed)


def test_a_message_is_its_length_unless_revealed(mo: InboundMessage) -> None:
    assert human(mo) == (
        "11:41:58  mo   spryng   +31*******78 → +31*******22   (13 characters; reveal = true shows text)   1 media"
    )
    assert human(mo, reveal=True) == "11:41:58  mo   spryng   +31612345678 → +31970001122   PARKEN geheim   1 media"


def test_an_opt_out_is_pointed_out(mo: InboundMessage) -> None:
    assert human(replace(mo, text="STOP", media=[])).endswith("   opt-out")


def test_a_notice_is_told_in_its_words(notice: Notice) -> None:
    assert human(notice) == f"11:41:58  notice  crm      warning   {notice.text}"
    assert "over: crm has not" in human(replace(notice, state="closed"))


def test_simulated_and_perhaps_doubled_events_say_so(dlr: DeliveryReport) -> None:
    assert human(replace(dlr, simulated=True)).endswith("   simulated")
    assert human(replace(dlr, suspected_duplicate_of="1")).endswith("   perhaps a duplicate")


@pytest.mark.parametrize("reveal", [True, False])
def test_nothing_a_stranger_wrote_reaches_the_terminal_raw(
    mo: InboundMessage, dlr: DeliveryReport, reveal: bool
) -> None:
    evil = "\x1b]0;gotcha\x07\r\n11:42:00  dlr  forged\x9b2J\u202e"
    for event in (
        replace(mo, text=evil, originator=evil, recipient=evil),
        replace(dlr, reference=evil, recipient=evil, source=evil),
    ):
        assert human(event, reveal=reveal).isprintable()


@pytest.mark.parametrize(("number", "shown"), [("12345", "*****"), ("123456", "123*56"), ("", "-"), (None, "-")])
def test_short_numbers_are_hidden_whole(dlr: DeliveryReport, number: str | None, shown: str) -> None:
    assert f" {shown}   order-42" in human(replace(dlr, recipient=number))


# -- outputs that come and go


@pytest.mark.parametrize("how", ["renamed", "deleted"])
async def test_after_a_rotation_the_new_file_is_written(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "events.log"
    handler = await opened(Log, file="events.log")
    await handler.handle(dlr, attempt)
    path.rename(tmp_path / "events.log.1") if how == "renamed" else path.unlink()
    await handler.handle(dlr, attempt)
    assert len(lines(path)) == 1


async def test_a_full_disk_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    with pytest.raises(Unavailable, match="cannot write to /dev/full: No space left"):
        await (await opened(Log, file="/dev/full")).handle(dlr, attempt)


async def test_a_missing_folder_is_unavailable_until_it_is_there(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tmp_path: Path
) -> None:
    handler = await opened(Log, file="logs/events.log")
    with pytest.raises(Unavailable):
        await handler.handle(dlr, attempt)
    (tmp_path / "logs").mkdir()
    await handler.handle(dlr, attempt)
    assert len(lines(tmp_path / "logs" / "events.log")) == 1


async def test_a_file_is_not_for_everybody(opened: Any, dlr: DeliveryReport, attempt: Attempt, tmp_path: Path) -> None:
    await (await opened(Log, file="events.log")).handle(dlr, attempt)
    assert (tmp_path / "events.log").stat().st_mode & 0o027 == 0


@pytest.mark.parametrize("state", ["closed", "never there"])
async def test_a_closed_stdout_is_unavailable(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    gone = None
    if state == "closed":
        gone = open(os.devnull, "w")  # noqa: ASYNC230, SIM115
        gone.close()
    monkeypatch.setattr(sys, "__stdout__", gone)
    with pytest.raises(Unavailable, match="cannot write to stdout"):
        await (await opened(Log)).handle(dlr, attempt)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Stdout is a pipe; this is the end that is read."""
    there, here = os.pipe()
    with os.fdopen(here, "w") as stdout:
        monkeypatch.setattr(sys, "__stdout__", stdout)
        yield there


async def test_a_broken_pipe_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt, pipe: int) -> None:
    os.close(pipe)
    with pytest.raises(Unavailable, match="Broken pipe"):
        await (await opened(Log)).handle(dlr, attempt)


async def stuck(handler: Log, mo: InboundMessage, attempt: Attempt) -> asyncio.Task[None]:
    """A line that is longer than the pipe, begun and not yet read."""
    task = asyncio.create_task(handler.handle(replace(mo, text="x" * 200_000), attempt))
    await asyncio.sleep(0)  # its first step goes on until the pipe is full
    return task


async def read(pipe: int, count: int) -> list[bytes]:
    """That many lines from a pipe, which is then closed."""
    reader = asyncio.StreamReader(limit=2**20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    try:
        return [await asyncio.wait_for(reader.readline(), 5) for _ in range(count)]
    finally:
        transport.close()


async def test_a_reader_that_stands_still_blocks_nobody(
    opened: Any, mo: InboundMessage, attempt: Attempt, pipe: int
) -> None:
    task = await stuck(await opened(Log, reveal=True), mo, attempt)
    assert not task.done()
    (line,) = await read(pipe, 1)
    await task
    assert len(json.loads(line)["data"]["text"]) == 200_000


async def test_a_line_cut_short_does_not_spoil_the_next(
    opened: Any, mo: InboundMessage, dlr: DeliveryReport, attempt: Attempt, pipe: int
) -> None:
    handler = await opened(Log, reveal=True)
    task = await stuck(handler, mo, attempt)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = asyncio.create_task(handler.handle(dlr, attempt))
    _, line = await read(pipe, 2)
    await again
    assert json.loads(line)["id"] == dlr.id


async def test_lines_of_events_handled_at_once_do_not_mix(
    opened: Any, mo: InboundMessage, attempt: Attempt, pipe: int
) -> None:
    handler = await opened(Log, reveal=True)
    tasks = [await stuck(handler, replace(mo, id=name), attempt) for name in ("first", "second")]
    lines = await read(pipe, 2)
    await asyncio.gather(*tasks)
    assert [json.loads(line)["id"] for line in lines] == ["first", "second"]
