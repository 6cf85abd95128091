"""The log: its formats, what it masks, what it never lets through, and how seldom it repeats itself."""

import asyncio
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from receiver import Secret, logs
from receiver.errors import StoreUnavailable

FORMATS = ("console", "json", "logfmt")
log = structlog.get_logger()


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Logging is process-wide: leave it as it was."""
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def line(out: io.StringIO) -> dict[str, Any]:
    (only,) = out.getvalue().splitlines()
    read: dict[str, Any] = json.loads(only)
    return read


def test_without_a_terminal_a_line_is_json_with_time_level_and_event_first(out: io.StringIO) -> None:
    logs.configure(stream=out)
    log.info("callback_recorded", source="spryng", count=3)
    facts = line(out)
    assert list(facts) == ["timestamp", "level", "event", "source", "count"]
    assert facts["timestamp"].endswith("Z")
    assert (facts["level"], facts["event"], facts["count"]) == ("info", "callback_recorded", 3)


def test_on_a_terminal_a_line_is_for_people() -> None:
    out = Terminal()
    logs.configure(stream=out, env={"NO_COLOR": "1"})
    log.info("callback_recorded", source="spryng")
    assert out.getvalue().endswith("callback_recorded source=spryng\n")
    assert "\x1b" not in out.getvalue()


def test_a_terminal_has_colours_unless_it_says_no() -> None:
    out = Terminal()
    logs.configure(stream=out, env={"TERM": "xterm"})
    log.info("callback_recorded")
    assert "\x1b[" in out.getvalue()


def test_logfmt_is_one_line_of_pairs(out: io.StringIO) -> None:
    logs.configure("logfmt", stream=out)
    log.warning("store_refused", why="disk full")
    assert out.getvalue().endswith('level=warning event=store_refused why="disk full"\n')


@pytest.mark.parametrize("format", FORMATS)
def test_numbers_and_texts_are_masked(out: io.StringIO, format: str) -> None:
    logs.configure(format, stream=out)
    log.info("stored", originator="+31612345678", recipients=["+4915112345678"], text="my secret words")
    assert "+31*******78" in out.getvalue()
    assert "(15 characters)" in out.getvalue()
    for hidden in ("612345", "15112345", "words"):
        assert hidden not in out.getvalue()


def test_reveal_leaves_numbers_and_texts_whole(out: io.StringIO) -> None:
    logs.configure(stream=out, reveal=True)
    log.info("stored", recipient="+31612345678", text="words")
    assert (line(out)["recipient"], line(out)["text"]) == ("+31612345678", "words")


@pytest.mark.parametrize("format", FORMATS)
def test_a_secret_is_never_written(out: io.StringIO, format: str) -> None:
    logs.configure(format, stream=out, reveal=True)
    log.info("loaded", token=Secret("sesame"), inside={"deep": [Secret("sesame")]})
    assert out.getvalue().count("***") == 2
    assert "sesame" not in out.getvalue()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[2J", "\x7f", "\x9b", "\u2028", "\u202e"])
def test_strangers_cannot_forge_lines_or_move_the_cursor(out: io.StringIO, format: str, evil: str) -> None:
    logs.configure(format, stream=out)
    log.info("refused", path=f"/in/a{evil}b")
    logging.getLogger("library").warning("path /in/a%sb", evil)
    assert len(out.getvalue().split("\n")) == 3
    for letter in evil.strip("[2J"):
        assert letter == "\n" or letter not in out.getvalue().replace("\x7f" if format == "json" else "", "")


@pytest.mark.parametrize("format", FORMATS)
def test_a_lone_surrogate_does_not_lose_the_line(tmp_path: Path, format: str) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as out:
        logs.configure(format, stream=out)
        log.info("refused", path="/in/\ud800")
        out.seek(0)
        assert "ud800" in out.read()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("reveal", [False, True])
def test_a_traceback_is_written_without_local_variables(out: io.StringIO, format: str, reveal: bool) -> None:
    logs.configure(format, stream=out, reveal=reveal)
    sesame = "open" + "sesame"
    try:
        raise ValueError(f"bad {len(sesame)}\x1b[2J")
    except ValueError:
        log.exception("failed")
    assert "ValueError" in out.getvalue()
    assert "in test_a_traceback_is_written_without_local_variables" in out.getvalue()
    assert ("bad 10" in out.getvalue()) is reveal
    assert "opensesame" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def quoting(number: str = "+31612345678", text: str = "my secret words") -> None:
    """Fail as code does that quotes what it was given, with a cause, in a group."""
    try:
        try:
            int(text)
        except ValueError as fault:
            raise KeyError(number) from fault
    except KeyError as fault:
        raise ExceptionGroup(text, [fault, StoreUnavailable("no space left")]) from None


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("through", ["ours", "a library's"])
def test_what_a_traceback_says_is_hidden_where_it_may_quote_a_message(
    out: io.StringIO, format: str, through: str
) -> None:
    logs.configure(format, stream=out)
    try:
        quoting()
    except ExceptionGroup:
        log.exception("failed") if through == "ours" else logging.getLogger("library").exception("failed")
    for hidden in ("secret", "words", "612345"):
        assert hidden not in out.getvalue()
    for told in ("ExceptionGroup", "KeyError", "ValueError", "StoreUnavailable: no space left", "in quoting"):
        assert told in out.getvalue()


def test_what_libraries_say_has_its_numbers_masked(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logging.getLogger("httpx").warning("POST %s", "https://example.com/?to=+31612345678")
    assert "to=+31*******78" in line(out)["event"]


def test_what_libraries_say_is_whole_where_all_is_revealed(out: io.StringIO) -> None:
    logs.configure(stream=out, reveal=True)
    logging.getLogger("httpx").warning("to=+31612345678")
    assert line(out)["event"] == "to=+31612345678"


def test_of_what_asyncio_says_the_values_are_left_out(out: io.StringIO) -> None:
    logs.configure(stream=out)
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "failed", "exception": ValueError("secret"), "future": ["secret"]})
    loop.close()
    assert line(out)["event"] == "failed"
    assert "ValueError" in line(out)["exception"]
    assert "secret" not in out.getvalue()


CRASHES = {
    "the whole": "raise ValueError('secret')",
    "a thread": "threading.Thread(target=int, args=['secret']).start()",
    "a destructor": "class D:\n    def __del__(self): int('secret')\nD()",
}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_what_nobody_caught_is_a_line_of_the_log(crash: str) -> None:
    program = f"import threading\nfrom receiver import logs\nlogs.configure('json')\nlogs.catch()\n{crash}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    (facts,) = [json.loads(each) for each in ended.stderr.splitlines()]
    assert (facts["level"], facts["event"]) == ("critical", "crashed")
    assert "ValueError" in facts["exception"]
    assert "secret" not in ended.stderr.replace("int('secret')", "")
    assert ended.returncode == (1 if crash.startswith("raise") else 0)


def test_what_libraries_log_comes_out_the_same_way(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logging.getLogger("uvicorn.error").warning("shutting %s", "down")
    assert (line(out)["event"], line(out)["logger"], line(out)["level"]) == (
        "shutting down",
        "uvicorn.error",
        "warning",
    )


def test_access_logs_of_libraries_are_off(out: io.StringIO) -> None:
    logs.configure(stream=out)
    logging.getLogger("uvicorn.access").info("GET /in/spryng/dlr/secret")
    logging.getLogger("aiohttp.access").info("GET /in/spryng/dlr/secret")
    assert out.getvalue() == ""


def test_a_librarys_odd_record_does_not_stop_what_logged_it(
    out: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure(stream=out)
    logging.getLogger("library").warning("%d", "no number")
    assert "no number" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "written"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_leaves_out_what_is_less_important(out: io.StringIO, level: str, written: int) -> None:
    logs.configure(level=level, stream=out)
    for method in ("debug", "info", "warning", "error"):
        getattr(log, method)("happened")
        getattr(logging.getLogger("library"), method)("happened")
    assert len(out.getvalue().splitlines()) == 2 * written


def test_a_second_configuration_replaces_the_first(out: io.StringIO) -> None:
    logs.configure(stream=out)
    later = io.StringIO()
    logs.configure("logfmt", stream=later)
    log.info("happened")
    logging.getLogger("library").warning("happened")
    assert (out.getvalue(), len(later.getvalue().splitlines())) == ("", 2)


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    stream = open("/dev/full", "w", buffering=1)  # noqa: SIM115 - closing it fails, which is the point
    logs.configure("json", stream=stream)
    log.info("happened")
    logging.getLogger("library").warning("happened")
    with pytest.raises(OSError, match="No space left"):
        stream.close()


def test_a_log_that_was_closed_stops_nothing(out: io.StringIO) -> None:
    logs.configure("json", stream=out)
    out.close()
    log.info("happened")
    logging.getLogger("library").warning("happened")


def test_the_journal_is_told_the_priority(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        logs.configure(stream=journal, env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log.error("store_refused")
        log.info("ready")
        logging.getLogger("library").warning("happened")
        journal.seek(0)
        assert [text[:4] for text in journal] == ["<3>{", "<6>{", "<4>{"]


def test_why_a_service_does_not_start_is_an_error_in_the_journal(tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text("[serve]\n[stroe]\n")
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        serve = [sys.executable, "-m", "receiver", "serve", "--config", str(tmp_path / "receiver.toml")]
        told = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert subprocess.run(serve, stderr=journal, env=told).returncode == 78
        journal.seek(0)
        assert [text[:3] for text in journal] == ["<3>", "<3>"]


@pytest.mark.parametrize("format", FORMATS)
def test_every_line_of_a_traceback_has_its_priority_in_the_journal(tmp_path: Path, format: str) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        logs.configure(format, stream=journal, env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        try:
            quoting()
        except ExceptionGroup:
            log.exception("failed")
        journal.seek(0)
        assert {text[:3] for text in journal} == {"<3>"}


def test_whose_lines_go_through_our_stream_writes_them_as_we_do(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        keys = logs.configure(stream=journal, env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    child = io.StringIO()
    assert logs.configure(**keys, stream=child) == keys
    log.error("happened")
    assert child.getvalue().startswith("<3>{")
    assert logs.configure(stream=Terminal(), env={})["format"] == "console"


def test_another_stream_than_the_journal_has_no_priorities(out: io.StringIO, tmp_path: Path) -> None:
    with (tmp_path / "redirected").open("w+") as redirected:
        logs.configure(stream=redirected, env={"JOURNAL_STREAM": "1:1"})
        log.info("ready")
        redirected.seek(0)
        assert redirected.read().startswith("{")


# seldom


def test_once_per_period_and_the_next_one_tells_what_was_left_out() -> None:
    seldom = logs.Seldom(timedelta(minutes=1))
    assert [seldom.allows("spryng", now) for now in (0, 1, 59, 60, 61, 300)] == [0, None, None, 2, None, 1]


def test_each_key_has_its_own_period() -> None:
    seldom = logs.Seldom(timedelta(minutes=1))
    assert [seldom.allows(key, 0) for key in ("a", "b", "a")] == [0, 0, None]


def test_a_clock_set_back_begins_a_new_period() -> None:
    seldom = logs.Seldom(timedelta(minutes=1))
    assert [seldom.allows("a", now) for now in (1000, 10)] == [0, 0]


def test_strangers_keys_fill_no_memory() -> None:
    seldom = logs.Seldom(timedelta(minutes=1), most=3)
    for key in range(1000):
        seldom.allows(key, 0)
    assert seldom.allows(999, 1) is None
    assert seldom.allows(0, 1) == 0
    assert len(vars(seldom)["_seen"]) == 3


def test_a_fault_that_repeats_a_thousand_times_is_some_lines_and_a_count() -> None:
    now = [0.0]
    bounded = logs.Bounded(lambda: now[0])
    kept = []
    for number in range(2000):
        now[0] = number / 1000
        with contextlib.suppress(structlog.DropEvent):
            kept.append(bounded(None, "error", {"event": "lane_failed", "handler": "crm"}))
    assert len(kept) == logs.AT_ONCE + 2
    assert kept[-1]["and_more_like_this"] == 999
    assert bounded(None, "error", {"event": "lane_failed", "handler": "shop"}) == {
        "event": "lane_failed",
        "handler": "shop",
    }


def test_what_went_well_is_never_left_out() -> None:
    bounded = logs.Bounded(lambda: 0.0)
    assert len([bounded(None, "info", {"event": "ready"}) for _ in range(100)]) == 100


def test_what_libraries_repeat_is_bounded_too() -> None:
    written = io.StringIO()
    logs.configure("json", stream=written)
    for number in range(500):
        logging.getLogger("somebody").error("broken %d", number)
    assert logs.AT_ONCE <= len(written.getvalue().splitlines()) <= logs.AT_ONCE + 2
