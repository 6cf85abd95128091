"""`events` and `stats`, as people and scripts read them."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import NOW, after, message, notice, report

from receiver.events import Reason, Status, event_from
from receiver.store.base import Dead, Done, Filtered, RetryAt

# events


def test_an_event_is_one_line_that_a_person_can_read(office: Office) -> None:
    office.store(report(reference="hello-1", submitted_at=after(-6), mccmnc="20404"))
    assert office.run("events").lines == [
        "11:42:00  dlr  spryng   delivered   +31612345678   hello-1   4 s   network 20404"
    ]


def test_the_date_is_told_where_it_is_not_today(office: Office) -> None:
    office.store(message("hi", received_at=after(days=-2)))
    assert office.run("events").lines == ["2026-02-28 11:42:00  mo   spryng   +31612345678 → 3010   hi"]


def test_json_is_the_event_as_it_is_handed_on(office: Office) -> None:
    (name,) = office.store(report())
    (record,) = office.run("events", "--json").records
    assert record["id"] == name
    assert json.loads(event_from(record).to_json()) == record


def test_the_newest_are_printed_oldest_first(office: Office) -> None:
    office.store(*(report(f"m-{n}") for n in range(1, 5)))
    shown = [record["subject"] for record in office.run("events", "--limit", "2", "--json").records]
    assert shown == ["m-3", "m-4"]


def test_fifty_are_printed_unless_asked_otherwise_and_0_is_all(office: Office) -> None:
    office.store(*(report(f"m-{n}") for n in range(60)))
    assert len(office.run("events").lines) == 50
    assert len(office.run("events", "--limit", "0").lines) == 60


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        (["--kind", "mo"], ["mo"]),
        (["--status", "failed"], ["m-1"]),
        (["--source", "bulkvs"], ["mo"]),
        (["--number", "0031612345678"], ["m-1", "m-2"]),
        (["--message", "m-2"], ["m-2"]),
        (["--reference", "r"], ["m-2"]),
        (["--since", "1h"], ["m-2", "mo"]),
        (["--until", "1h"], ["m-1"]),
        (["--since", "2026-03-02T10:42:00Z"], ["m-2", "mo"]),
        (["--since", "2026-03-02T11:43"], []),  # local time
        (["--since", "today", "--kind", "dlr"], ["m-2"]),
        (["--since", "yesterday", "--until", "today"], ["m-1"]),
    ],
)
def test_filters_narrow_down_together(office: Office, filter: list[str], found: list[str]) -> None:
    office.store(
        report("m-1", status=Status.FAILED, received_at=after(hours=-12)),
        report("m-2", reference="r"),
        message(message_id="mo", originator="+12025550123", source="bulkvs"),
    )
    assert [record["data"]["message_id"] for record in office.run("events", "--json", *filter).records] == found


def test_what_strangers_wrote_cannot_move_the_cursor_of_a_terminal(office: Office) -> None:
    office.store(message("a\x1b[2J\nb\u202e", originator="\x9bM"))
    (line,) = office.run("events").lines
    assert line.endswith(r"\x9bM → 3010   a\x1b[2J\nb\u202e")


def test_json_stays_one_object_a_line_whatever_is_in_it(office: Office) -> None:
    office.store(message("a\u2028b\x85c\x9b2J\n😀"))
    (record,) = office.run("events", "--json").records
    assert record["data"]["text"] == "a\u2028b\x85c\x9b2J\n😀"


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_mask_hides_numbers_and_texts(office: Office, form: list[str]) -> None:
    office.store(message("my code is 1234", raw={"PARM": "my code is 1234"}), report())
    shown = office.run("events", "--mask", *form).out
    assert "612345678" not in shown
    assert "code is" not in shown
    assert "(15 characters)" in shown


def test_a_spreadsheet_runs_nothing_of_what_strangers_wrote(office: Office) -> None:
    office.store(message("=1+1"), message('@x,"y"', message_id="m-2"), report("-1"))
    rows = list(csv.DictReader(office.run("events", "--csv").lines))
    assert [row["text"] for row in rows] == ["'=1+1", '\'@x,"y"', ""]
    assert rows[2]["message_id"] == "'-1"
    assert rows[2]["recipient"] == "'+31612345678"
    assert rows[2]["received_at"] == "2026-03-02T10:42:00.123456Z"


def test_an_empty_list_is_fine_and_says_so(office: Office) -> None:
    ended = office.run("events", "--status", "failed", "--json")
    assert (ended.status, ended.out, ended.err) == (0, "", "No such event.\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "soon"],
        ["--status", "delivred"],
        ["--kind", "sms"],
        ["--limit", "-1"],
        ["--json", "--csv"],
        ["--follow", "--until", "today"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(office: Office, wrong: list[str]) -> None:
    assert office.run("events", *wrong).status == 2


def test_without_a_database_it_says_who_creates_one(office: Office) -> None:
    (office.folder / "receiver.db").unlink()
    ended = office.run("events")
    assert ended.status == 78
    assert "no database at" in ended.err


def test_follow_goes_on_with_what_comes_until_it_is_interrupted(office: Office) -> None:
    command = [sys.executable, "-m", "receiver", "events", "--follow", "--json", "--kind", "dlr"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as running:
        assert running.stdout
        assert running.stderr
        assert "configuration:" in running.stderr.readline()
        assert running.stderr.readline().startswith("Waiting. spryng has not called yet.")
        for n in (1, 2):
            office.store(message(f"not asked for {n}"), report(f"m-{n}"))
            assert json.loads(running.stdout.readline())["subject"] == f"m-{n}"
        office.refuse("spryng", 2)
        assert running.stderr.readline().startswith("refused: 2 requests to spryng")
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=20) == ("", "")
    assert running.returncode == 0


# stats


def test_stats_has_exactly_what_scripts_rely_on(office: Office) -> None:
    office.store(*(report(f"m-{n}") for n in range(6)), report("m-0"))
    office.settle("crm", Done("204"), Filtered(), Dead("no"), RetryAt(after(60), "busy"))
    office.refuse("spryng", 3)
    crm, spryng = office.run("stats", "--json").records
    assert crm == {
        "handler": "crm",
        "state": "ok",
        "received": 6,
        "done": 1,
        "filtered": 1,
        "cancelled": 0,
        "pending": 3,
        "running": 0,
        "dead": 1,
        "oldest_pending_at": "2026-03-02T10:42:00.123456Z",
    }
    assert spryng == {
        "source": "spryng",
        "stored": 6,
        "duplicates": 1,
        "quarantined": 0,
        "refused": 3,
        "simulated": 0,
        "last_at": "2026-03-02T10:42:00.123456Z",
    }


def test_stats_shows_people_that_it_adds_up(office: Office) -> None:
    office.store(report())
    office.settle("crm", Done())
    shown = office.run("stats").out
    assert "owed to crm: 1 = 1 done + 0 filtered + 0 cancelled + 0 pending + 0 running + 0 dead   ✓ adds up" in shown


def test_stats_calls_a_handler_down_whose_target_does_not_answer(office: Office) -> None:
    office.stand("crm", "held", since=NOW, reason="refused")
    assert office.run("stats").lines[1].split()[:2] == ["crm", "down"]
    assert office.run("stats", "--json").records[0]["state"] == "held"


def test_a_source_that_never_called_is_listed_too(office: Office) -> None:
    assert office.run("stats", "--json").records[-1]["last_at"] is None
    assert office.run("stats").lines[-1].endswith("never")


def test_stats_points_at_quarantine_and_refused_requests(office: Office) -> None:
    office.quarantine()
    office.refuse("spryng", 1)
    said = office.run("stats").err
    assert "receiver quarantine" in said
    assert "receiver urls" in said


def test_nothing_is_coloured_in_a_pipe(office: Office) -> None:
    office.store(notice(), report(status=Status.FAILED, reason=Reason.UNREACHABLE))
    assert "\x1b" not in office.run("events").out + office.run("stats").out


def test_notices_are_events_too(office: Office) -> None:
    (name,) = office.store(report("m-1"))
    assert [record["id"] for record in office.run("events", "--json", "--kind", "dlr").records] == [name]
    assert office.run("events", "--kind", "notice").err == "No such event.\n"
