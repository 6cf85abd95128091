"""What a handler prints comes through, as far as it is not too much."""

import io

import pytest
from structlog.testing import capture_logs

from receiver import chatter
from receiver.chatter import BURST, LONGEST_LINE, RATE, Chatter


class Heard:
    """A chatter whose second passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.out = io.BytesIO()
        self.chatter = Chatter("own", out=self.out, monotonic=lambda: self.now)

    def prints(self, data: bytes) -> None:
        self.chatter.data_received(data)

    @property
    def text(self) -> bytes:
        return self.out.getvalue()


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_whole_lines_come_through_as_they_are(heard: Heard) -> None:
    heard.prints(b"one\ntw")
    assert heard.text == b"one\n"
    heard.prints(b"o\n")
    heard.prints(b"the end")
    heard.chatter.connection_lost(None)
    assert heard.text == b"one\ntwo\nthe end\n"


def test_a_flood_is_cut_and_told_with_its_size(heard: Heard) -> None:
    with capture_logs() as lines:
        for _ in range(100):
            heard.prints(b"x" * 9_999 + b"\n")
        heard.chatter.connection_lost(None)
    assert len(heard.text) <= BURST
    assert {line["event"] for line in lines} == {chatter.LEFT_OUT}
    assert lines[0]["handler"] == "own"


def test_after_a_flood_there_is_room_again(heard: Heard) -> None:
    heard.prints(b"x" * (BURST - 1) + b"\n")
    heard.prints(b"too much\n")
    heard.now += 20 / RATE
    heard.prints(b"again\n")
    assert heard.text.endswith(b"\nagain\n")


def test_a_line_without_end_is_not_kept_for_ever(heard: Heard) -> None:
    for _ in range(10):
        heard.prints(b"x" * LONGEST_LINE)
    assert len(heard.text) > LONGEST_LINE


def test_a_log_that_cannot_be_written_stops_nothing(heard: Heard) -> None:
    heard.out.close()
    heard.prints(b"lost\n")
