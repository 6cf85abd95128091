"""`quarantine`: what could not be read is seen, read again, or thrown away."""

import pytest
from cli_kit import CONFIG, Office, opened_office  # noqa: F401 - a fixture

READABLE = b"ID=m-1&RECIPIENT=31612345678&STATUS=10"
UNREADABLE = b"ID=m-1&STATUS=10"


def test_the_list_has_what_scripts_rely_on(office: Office) -> None:
    name = office.quarantine("RECIPIENT is missing", query=UNREADABLE, body=b"x")
    assert office.run("quarantine", "--json").records == [
        {
            "id": name,
            "source": "spryng",
            "endpoint": "dlr",
            "received_at": "2026-03-02T10:42:00.123456Z",
            "reason": "RECIPIENT is missing",
            "bytes": 17,
        }
    ]
    assert office.run("quarantine").lines[1].split(maxsplit=5) == [
        *(name, "spryng", "dlr", "11:42:00", "17", "RECIPIENT is missing")
    ]


def test_an_empty_quarantine_is_fine(office: Office) -> None:
    for form in ([], ["--json"], ["list"]):
        ended = office.run("quarantine", *form)
        assert (ended.status, ended.out) == (0, "")


def test_show_prints_the_request(office: Office) -> None:
    name = office.quarantine(query=UNREADABLE)
    ended = office.run("quarantine", "show", name)
    assert (ended.status, ended.lines) == (0, ["GET /in/spryng/dlr?ID=m-1&STATUS=10"])
    assert "RECIPIENT is missing" in ended.err
    assert office.run("quarantine", "show", "99").status == 1


def test_what_can_be_read_now_becomes_events(office: Office) -> None:
    name = office.quarantine("a bug of yesterday", query=READABLE)
    ended = office.run("quarantine", "retry", name)
    assert ended.status == 0
    assert ended.audit["command"] == "quarantine retry"
    (event,) = office.run("events", "--json").records
    assert event["id"] in ended.out
    assert (event["data"]["source"], event["data"]["provider"]) == ("spryng", "spryng")
    assert event["data"]["received_at"] == "2026-03-02T10:42:00.123456Z"
    assert office.run("quarantine", "--json").records == []
    assert office.counts() == {"pending": 1}


def test_what_is_still_unreadable_stays_and_says_why(office: Office) -> None:
    bad = office.quarantine(query=UNREADABLE)
    office.quarantine("a bug of yesterday", query=READABLE)
    ended = office.run("quarantine", "retry", "--all")
    assert ended.status == 1
    assert f"✗ {bad}  still unreadable, kept: RECIPIENT is missing" in ended.out
    assert [record["id"] for record in office.run("quarantine", "--json").records] == [bad]
    assert ended.audit["count"] == 1


def test_what_was_stored_meanwhile_is_a_duplicate_then(office: Office) -> None:
    for _ in range(2):
        office.quarantine("a bug of yesterday", query=READABLE)
    assert [line.split()[2] for line in office.run("quarantine", "retry", "--all").lines] == ["stored", "duplicate"]


def test_a_callback_of_a_source_that_is_gone_stays(office: Office) -> None:
    office.quarantine(query=READABLE)
    office.configure(CONFIG.replace("[sources.spryng]", "[sources.other]"))
    ended = office.run("quarantine", "retry", "--all")
    assert ended.status == 1
    assert 'no source "spryng" is configured' in ended.out


def test_what_came_to_the_wrong_url_is_noted_as_it_is_on_arrival(office: Office) -> None:
    office.quarantine(query=READABLE, endpoint="mo")
    office.run("quarantine", "retry", "--all")
    assert office.run("events", "--json").records[0]["data"]["notes"] == ["wrong_endpoint"]


def test_discard_throws_away_for_good_and_asks_first(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = office.quarantine(query=b"a=1"), office.quarantine(query=b"a=2")
    monkeypatch.setattr("receiver.cli.show.click.confirm", lambda *_, **__: False)
    assert office.run("quarantine", "discard", first).status == 1
    assert len(office.run("quarantine", "--json").records) == 2
    ended = office.run("quarantine", "discard", first, "--yes")
    assert (ended.status, ended.audit["ids"]) == (0, [first])
    assert [record["id"] for record in office.run("quarantine", "--json").records] == [second]


@pytest.mark.parametrize("act", ["retry", "discard"])
def test_without_a_choice_nothing_is_done_and_an_unknown_id_is_exit_1(office: Office, act: str) -> None:
    office.quarantine(query=READABLE)
    assert office.run("quarantine", act).status == 2
    assert office.run("quarantine", act, "--all", "1").status == 2
    assert office.run("quarantine", act, "99").status == 1
    assert len(office.run("quarantine", "--json").records) == 1
