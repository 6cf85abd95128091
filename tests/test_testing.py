"""Laws of what plug-in authors test their handlers with."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from receiver import BaseHandler, Discard, Retry, testing
from receiver.errors import PluginFault
from receiver.events import KINDS

pytestmark = pytest.mark.anyio

CHAT = """
from receiver import BaseHandler, Discard, Unavailable

class Chat(BaseHandler):
    class Settings(BaseHandler.Settings):
        channel: str

    async def open(self):
        self.posted = 0

    async def handle(self, event, attempt):
        if event.kind != "mo":
            raise Discard("no message")
        if attempt.number < attempt.of:
            raise Unavailable("busy", after=7)
        self.posted += 1
        return f"{self.posted} in {self.settings.channel}: {event.text}"
"""


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    file = tmp_path / "chat.py"
    file.write_text(CHAT)
    return file


class Batches(BaseHandler):
    """Says of each event of a batch what it wants."""

    async def handle_batch(self, events, attempt):  # type: ignore[no-untyped-def]
        return {events[0].id: Retry("later"), events[1].id: Discard("never")}


async def test_a_file_is_opened_once_and_given_each_event(chat: Path) -> None:
    given = [testing.message("a"), testing.message("b")]
    results = await testing.run(chat, *given, channel="ops", retries=[])
    assert [result.verdict for result in results] == ["done", "done"]
    assert [result.answer for result in results] == ["1 in ops: a", "2 in ops: b"]


async def test_a_verdict_is_a_result(chat: Path) -> None:
    refused, busy = await testing.run(str(chat), testing.report(), testing.message(), channel="ops")
    assert refused == ("discard", "no message", None)
    assert busy == ("unavailable", "busy", 7)


async def test_a_later_attempt_can_be_tried(chat: Path) -> None:
    (result,) = await testing.run(chat, testing.message(), channel="ops", retries=["1s"], attempt=2)
    assert result.verdict == "done"


async def test_a_plain_function_in_a_file_is_a_handler(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def handle(event, attempt):\n    return attempt.handler\n")
    assert await testing.run(tmp_path / "plain.py", testing.report()) == [("done", "plain", None)]


async def test_a_class_of_batches_is_given_all_at_once() -> None:
    results = await testing.run(Batches, *(testing.report() for _ in range(3)))
    assert [result.verdict for result in results] == ["again", "discard", "done"]


async def test_keys_are_checked_as_in_the_configuration(chat: Path) -> None:
    with pytest.raises(ValidationError, match="chanel"):
        await testing.run(chat, testing.message(), chanel="ops")


async def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PluginFault, match="nothing"):
        await testing.run(tmp_path / "nothing.py", testing.message())


async def test_the_events_are_of_every_kind_and_all_different() -> None:
    events = testing.events()
    assert {type(event) for event in events} == set(KINDS.values())
    assert len({event.id for event in events}) == len(events)
    assert all(event.to_json() for event in events)


async def test_a_copied_built_in_handler_survives_all_events(tmp_path: Path) -> None:
    copy = tmp_path / "copied.py"
    copy.write_text((Path(__file__).parents[1] / "handlers" / "log.py").read_text())
    results = await testing.run(copy, *testing.events(), file=str(tmp_path / "out.jsonl"))
    assert {result.verdict for result in results} == {"done"}
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(results)
