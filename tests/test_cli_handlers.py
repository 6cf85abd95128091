"""`handlers`: how they do, and what people do to them."""

import json
import subprocess
import sys
import time

import pytest
from cli_kit import CONFIG, Office, opened_office  # noqa: F401 - a fixture
from factories import NOW, after, report, reports

from receiver.store.base import Dead, Done, RetryAt

# looking


def test_each_handler_is_shown_with_its_cure(office: Office) -> None:
    office.configure(CONFIG + '[handlers.fresh]\nuse = "log"\n[handlers.shop]\nuse = "log"\n')
    office.enrol("crm", "old", "shop")
    office.store(*reports(3))
    office.settle("crm", Done(), Dead("401"))
    office.stand("shop", "paused", since=after(hours=-1), reason="410 gone")
    office.enrol("crm", "shop")
    shown = {line.split()[0]: " ".join(line.split()) for line in office.run("handlers").lines if line}
    assert shown["crm"] == "crm log ok 1 1 10 s 1 – receiver dead --handler crm"
    assert shown["shop"] == ("shop log paused 0 3 10 s 0 410 gone (since 10:42:00) receiver handlers resume shop")
    assert shown["old"] == "old – not configured 0 3 10 s 0 – receiver handlers forget old"
    assert shown["fresh"] == "fresh log new 0 0 – 0 – begins when the receiver starts with it"


def test_what_is_available_and_from_where(office: Office) -> None:
    (office.folder / "mine.py").write_text("async def handle(event, attempt): pass\n")
    office.configure(CONFIG + '[plugins]\ndirectory = "."\n')
    office.folder.chmod(0o755)
    shown = {record["available"]: record["from"] for record in office.run("handlers", "--json").records[1:]}
    assert shown["mine"] == str(office.folder / "mine.py")
    assert shown["forward"].startswith("receiver.handlers.forward:Forward of sms-receiver")


def test_json_has_the_words_of_the_store(office: Office) -> None:
    office.store(*reports(2))
    office.settle("crm", RetryAt(after(60), "busy"))
    office.stand("crm", "held", since=NOW, reason="busy", last_error="busy", last_error_at=NOW)
    record = office.run("handlers", "--json").records[0]
    assert (record["handler"], record["use"], record["state"], record["waiting"]) == ("crm", "log", "held", 2)
    assert (record["last_error"], record["since"]) == ("busy", "2026-03-02T10:42:00.123456Z")


# pause, resume


def test_pause_and_resume_are_kept_and_the_last_error_stays(office: Office) -> None:
    office.stand("crm", "ok", last_error="busy", last_error_at=NOW)
    paused = office.run("handlers", "pause", "crm", "--reason", "until noon")
    standing = office.standing("crm")
    assert (standing.state, standing.reason, standing.since) == ("paused", "until noon", after(10))
    assert (standing.last_error, standing.last_error_at) == ("busy", NOW)
    assert paused.audit["command"] == "handlers pause"
    resumed = office.run("handlers", "resume", "crm")
    standing = office.standing("crm")
    assert (standing.state, standing.reason, standing.last_error) == ("ok", "", "busy")
    assert resumed.audit["command"] == "handlers resume"


def test_resume_makes_due_what_waited_because_of_the_target(office: Office) -> None:
    (name,) = office.store(report())
    office.settle("crm", RetryAt(after(3600), "refused", target=True))
    office.stand("crm", "held", since=NOW)
    office.run("handlers", "resume", "crm")
    (line,) = office.dispatches(name)
    assert line.due_at is None


def test_what_is_so_already_changes_nothing(office: Office) -> None:
    ended = office.run("handlers", "resume", "crm")
    assert (ended.status, ended.acted) == (0, False)
    assert "crm is ok already" in ended.err


@pytest.mark.parametrize("act", [["pause"], ["resume"], ["forget", "--yes"], ["test"]])
def test_an_unknown_handler_is_exit_1_with_those_there_are(office: Office, act: list[str]) -> None:
    ended = office.run("handlers", *act, "cmr")
    assert ended.status == 1
    assert "did you mean crm?" in ended.err


# forget, rename


def test_forget_refuses_what_is_configured(office: Office) -> None:
    ended = office.run("handlers", "forget", "crm", "--yes")
    assert ended.status == 1
    assert "remove [handlers.crm]" in ended.err
    assert [one.handler for one in office.stats().handlers] == ["crm"]


def test_forget_drops_what_is_configured_no_more(office: Office) -> None:
    office.enrol("crm", "old")
    office.enrol("crm")
    ended = office.run("handlers", "forget", "old", "--yes")
    assert (ended.status, ended.audit["handler"]) == (0, "old")
    assert [one.handler for one in office.stats().handlers] == ["crm"]


def test_forget_asks_first(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.enrol("crm", "old")
    asked = []
    monkeypatch.setattr("receiver.cli.show.click.confirm", lambda question, **_: bool(asked.append(question)))
    assert office.run("handlers", "forget", "old").status == 1
    assert asked == ["Forget old (0 events waiting, 0 dead letters)?"]
    assert len(office.stats().handlers) == 2


def test_rename_keeps_the_place_in_the_log(office: Office) -> None:
    office.store(*reports(3))
    office.settle("crm", Done())
    ended = office.run("handlers", "rename", "crm", "sales")
    assert (ended.status, ended.audit["to"]) == (0, "sales")
    assert office.counts("sales") == {"done": 1, "pending": 2}
    assert "[handlers.sales]" in ended.err


def test_rename_to_a_name_that_is_taken_or_none_is_refused(office: Office) -> None:
    office.enrol("crm", "shop")
    assert office.run("handlers", "rename", "crm", "shop").status == 1
    assert office.run("handlers", "rename", "crm", "Sales_CRM").status == 2
    assert office.run("handlers", "rename", "nobody", "sales").status == 1


# test


def handler_of(office: Office, body: str, **keys: str) -> None:
    """Configure `own`, whose one function does this."""
    folder = office.folder / "handlers.d"
    folder.mkdir(mode=0o755)
    (folder / "own.py").write_text(f"import asyncio, time\nfrom receiver import Pause, Retry\n{body}\n")
    (folder / "own.py").chmod(0o644)
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    office.configure(f'{CONFIG}[handlers.own]\nuse = "own"\n{more}[plugins]\ndirectory = "handlers.d"\n')


def test_test_gives_a_made_up_event_and_tells_verdict_answer_and_time(office: Office) -> None:
    handler_of(office, 'async def handle(event, attempt): return f"{event.kind} {event.status} {event.simulated}"')
    ended = office.run("handlers", "test", "own")
    assert ended.status == 0
    assert ended.lines[0] == "own (own)   made-up delivery report (simulated, not stored)"
    assert ended.lines[1].startswith("✓ done (")
    assert ended.lines[1].endswith("ms): dlr delivered True")
    assert office.run("events", "--json").out == ""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('async def handle(event, attempt): raise Retry("no")', "✗ would be tried again ("),
        ('async def handle(event, attempt): raise Pause("gone")', "✗ the handler would be paused ("),
        ("def handle(event, attempt): raise ConnectionRefusedError", "✗ its target does not answer ("),
    ],
)
def test_a_handler_that_does_not_take_it_is_exit_1(office: Office, body: str, said: str) -> None:
    handler_of(office, body)
    ended = office.run("handlers", "test", "own")
    assert ended.status == 1
    assert ended.lines[1].startswith(said)


def test_the_made_up_event_is_of_a_kind_and_status_the_handler_wants(office: Office) -> None:
    handler_of(office, "async def handle(event, attempt): return event.status", kinds='["dlr"]', statuses='["failed"]')
    record = office.run("handlers", "test", "own", "--json").records[0]
    assert (record["verdict"], record["answer"], record["event"]["data"]["reason"]) == ("done", "failed", "unknown")
    assert record["took_ms"] >= 0


@pytest.mark.parametrize("kind", ["mo", "notice"])
def test_a_handler_of_one_kind_is_given_that(office: Office, kind: str) -> None:
    handler_of(office, "async def handle(event, attempt): return event.text", kinds=f'["{kind}"]')
    assert office.run("handlers", "test", "own", "--json").records[0]["event"]["data"]["kind"] == kind


def test_a_stored_event_is_given_as_it_is_and_nothing_is_counted(office: Office) -> None:
    (name,) = office.store(report())
    handler_of(office, "async def handle(event, attempt): return event.message_id", kinds='["mo"]')
    ended = office.run("handlers", "test", "own", "--event", name)
    assert (ended.status, ended.lines[1][-5:]) == (0, ": m-1")
    assert "The filters of this handler would have kept this event away." in ended.err
    assert office.counts() == {"pending": 1}
    assert office.run("handlers", "test", "own", "--event", "0198c0de-6a1f-7c52-9d6e-0a4c5b6d7e8f").status == 1


def test_a_handler_whose_settings_are_wrong_is_a_fault_of_the_configuration(office: Office) -> None:
    handler_of(office, "async def handle(event, attempt): pass", retires="[]")
    ended = office.run("handlers", "test", "own")
    assert ended.status == 78
    assert "handlers.own.retires: unknown key; did you mean retries?" in ended.err


@pytest.mark.parametrize("form", ["def", "async def"])
def test_a_handler_that_hangs_is_given_up(office: Office, form: str) -> None:
    stubborn = "while True:\n        try: await asyncio.sleep(60)\n        except BaseException: pass"
    body = "time.sleep(60)" if form == "def" else stubborn
    handler_of(office, f"{form} handle(event, attempt):\n    {body}", timeout='"50ms"')
    began = time.monotonic()
    command = [sys.executable, "-m", "receiver", "handlers", "test", "own"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert time.monotonic() - began < 20
    assert "no answer within 50 ms" in ended.stdout or "ignored its time-out" in ended.stderr


def test_only_the_secrets_of_this_handler_are_read(office: Office) -> None:
    office.configure(CONFIG.replace('["abcdefghijklmnop"]', '[{ file = "gone" }]'))
    ended = office.run("handlers", "test", "crm")
    assert ended.status == 0
    assert json.loads((office.folder / "crm.log").read_text())["data"]["simulated"] is True
