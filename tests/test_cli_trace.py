"""`trace`: did this message arrive, and who has been told?"""

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import NOW, after, message, report

from receiver.events import Reason, Status
from receiver.store.base import Dead, Done, Filtered, RetryAt


def test_the_first_line_is_the_verdict_in_words(office: Office) -> None:
    office.store(report(reference="order-42", submitted_at=after(-8), occurred_at=after(-2)))
    office.settle("crm", Done("204"))
    assert office.run("trace", "order-42").lines[0] == (
        "DELIVERED to +31612345678 at 11:41:58, 6 s after it was submitted; crm has been told"
    )


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (None, "crm waits to be told"),
        (Done(), "crm has been told"),
        (Filtered(), "no handler wanted it"),
        (RetryAt(after(60), "busy"), "crm waits to be told (after 1 try; again at 11:43:00)"),
        (Dead("401"), "crm has not been told (dead letter: 401)"),
    ],
)
def test_the_verdict_says_who_has_been_told(office: Office, outcome: object, told: str) -> None:
    office.store(report())
    if outcome:
        office.settle("crm", outcome)  # type: ignore[arg-type]
    assert office.run("trace", "m-1").lines[0].endswith(f"; {told}")


def test_the_verdict_names_the_cure_of_a_paused_handler(office: Office) -> None:
    office.store(report())
    office.stand("crm", "paused", since=NOW)
    assert office.run("trace", "m-1").lines[0].endswith("(it is paused: receiver handlers resume crm)")


def test_a_replay_that_went_well_counts_as_told(office: Office) -> None:
    (name,) = office.store(report())
    office.settle("crm", Dead("no"))
    office.run("replay", "--handler", "crm", "--event", name, "--yes")
    office.settle("crm", Done("204"))
    assert office.run("trace", "m-1").lines[0].endswith("crm has been told")


def test_a_late_sent_never_hides_delivered(office: Office) -> None:
    office.store(report(occurred_at=after(-5)), report(status=Status.SENT, occurred_at=after(-1)))
    assert office.run("trace", "m-1").lines[0].startswith("DELIVERED to +31612345678 at 11:41:55")
    current = {record["event"]["data"]["status"]: record["current"] for record in _records(office, "m-1")}
    assert current == {"delivered": True, "sent": False}


def test_of_equal_rank_the_later_one_counts(office: Office) -> None:
    office.store(
        report(status=Status.EXPIRED, occurred_at=after(-1)),
        report(status=Status.FAILED, reason=Reason.UNREACHABLE, occurred_at=after(-9)),
    )
    assert office.run("trace", "m-1").lines[0].startswith("EXPIRED on the way to +31612345678 at 11:41:59")


def test_the_life_of_a_message_in_order_of_time(office: Office) -> None:
    first = report(submitted_at=after(-8), sent_at=after(-7), mccmnc="20404", status_raw="10")
    (name,) = office.store(first)
    office.store(report(received_at=after(5)))
    office.settle("crm", RetryAt(after(1), "no answer within 10 s", target=True), at=after(1))
    office.settle("crm", Done("204"), at=after(3))
    assert [line.split(maxsplit=1) for line in office.run("trace", "m-1").lines[2:]] == [
        ["11:41:52", "submitted  by spryng's clock"],
        ["11:41:53", "sent       to the network 20404"],
        ["11:41:58", "delivered  spryng says 10"],
        ["11:42:00", f"received   report {name}"],
        ["11:42:01", "→ crm      try 1 retry in 22 ms: no answer within 10 s"],
        ["11:42:03", "→ crm      try 2 done in 22 ms: 204"],
        ["11:42:05", "again      the same report: counted, not handed on"],
    ]


@pytest.mark.parametrize("written", ["0612345678", "06 12 34 56 78", "+31612345678", "0031 6 1234 5678"])
def test_a_number_is_found_as_people_write_it(office: Office, written: str) -> None:
    office.store(report(), message("STOP"))
    first, second = office.run("trace", written).lines
    assert first.startswith("DELIVERED to +31612345678")
    assert second.startswith('RECEIVED "STOP" from +31612345678 to 3010 at 11:41:59, asks not to be written to')


def test_several_messages_are_one_verdict_each_the_newest_last(office: Office) -> None:
    office.store(
        report("m-1", status=Status.SENT), report("m-2"), report("m-1"), report("m-1", recipient="+31600000000")
    )
    shown = office.run("trace", "0612345678").lines
    assert [line.split()[-1] for line in shown] == ["m-2", "m-1"]
    assert all(line.startswith("DELIVERED to +31612345678") for line in shown)


def test_one_message_id_with_two_recipients_is_two_messages(office: Office) -> None:
    stored = office.store(report(), report(status=Status.FAILED, recipient="+31600000000"))
    shown = office.run("trace", "m-1").lines
    assert [line.split()[0] for line in shown] == ["DELIVERED", "FAILED"]
    assert [line.split()[-1] for line in shown] == stored  # what to ask for: the message id would not tell them apart


def test_by_the_id_of_one_report_the_verdict_is_still_about_the_message(office: Office) -> None:
    name, _ = office.store(report(status=Status.SENT), report())
    assert office.run("trace", name.upper()).lines[0].startswith("DELIVERED")


def test_only_the_newest_messages_are_told_and_the_rest_counted(office: Office) -> None:
    office.store(*(report(f"m-{n}") for n in range(4)))
    ended = office.run("trace", "0612345678", "--limit", "2")
    assert [line.split()[-1] for line in ended.lines] == ["m-2", "m-3"]
    assert "2 earlier messages left out" in ended.err
    assert len(office.run("trace", "0612345678", "--limit", "0").lines) == 4


def test_json_holds_event_callbacks_dispatches_and_attempts(office: Office) -> None:
    (name,) = office.store(report())
    office.store(report(received_at=after(5)))
    office.settle("crm", Dead("401"))
    (record,) = _records(office, name)
    assert record["event"]["id"] == name
    assert (record["copies"], [callback["copy"] for callback in record["callbacks"]]) == (1, [False, True])
    (dispatch,) = record["dispatches"]
    assert (dispatch["handler"], dispatch["state"], dispatch["died_at"]) == (
        "crm",
        "dead",
        "2026-03-02T10:42:00.123456Z",
    )
    (attempt,) = dispatch["attempts"]
    assert attempt == {
        "number": 1,
        "at": "2026-03-02T10:42:00.123456Z",
        "took_ms": 22.0,
        "verdict": "dead",
        "answer": "401",
    }


def test_raw_is_what_the_provider_sent_with_bytes_that_are_no_text_escaped(office: Office) -> None:
    name = office.quarantine(
        query=b"ID=\xff&RECIPIENT=1\x1b", method="POST", body=b"a=b\n\xe9", content_type="text/plain"
    )
    assert office.run("quarantine", "show", name).lines == [
        r"POST /in/spryng/dlr?ID=\xff&RECIPIENT=1\x1b",
        "Content-Type: text/plain",
        "",
        "a=b",
        r"\xe9",
    ]
    office.store(report())
    assert office.run("trace", "m-1", "--raw").lines == ["GET /in/spryng/dlr?ID=m-1&RECIPIENT=+31612345678", ""]


def test_mask_hides_people_in_verdict_life_and_json(office: Office) -> None:
    office.store(message("secret words", message_id="m-1"))
    office.settle("crm", Dead("no customer +31612345678"))
    for form in ([], ["--json"]):
        shown = office.run("trace", "m-1", "--mask", *form).out
        assert "612345678" not in shown
        assert "secret words" not in shown
    assert office.run("trace", "m-1", "--mask", "--raw").status == 2


def test_nothing_known_is_exit_1_with_what_that_is_worth(office: Office) -> None:
    office.store(report(received_at=after(days=-10)), report("m-2"))
    ended = office.run("trace", "order-9999")
    assert ended.status == 1
    assert ended.lines[0].startswith('Nothing is known of "order-9999"')
    assert "spryng last called 10 s ago; events are kept since 2026-02-20; quarantine is empty" in ended.out
    assert office.run("trace", "order-9999", "--json").out == ""


def test_what_stands_in_quarantine_is_pointed_at(office: Office) -> None:
    name = office.quarantine(query=b"REFERENCE=order-77")
    assert f"receiver quarantine show {name}" in office.run("trace", "order-77").out


def test_since_leaves_older_messages_out_and_says_that_they_exist(office: Office) -> None:
    office.store(report(received_at=after(days=-3)))
    ended = office.run("trace", "m-1", "--since", "yesterday")
    assert (ended.status, ended.out) == (1, 'Nothing is known of "m-1" since then; 1 older event would match.\n')


def test_a_report_without_recipient_is_told_by_its_reference(office: Office) -> None:
    office.store(report(None, reference="order-42", recipient=None, occurred_at=None))
    assert (
        office.run("trace", "order-42")
        .lines[0]
        .startswith("DELIVERED to the recipient of order-42 (the provider names no time; received at 11:42:00)")
    )


def _records(office: Office, what: str) -> list[dict[str, object]]:
    return office.run("trace", what, "--json").records
