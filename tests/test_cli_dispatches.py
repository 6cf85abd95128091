"""`pending`, `dead` and `replay`: what waits, what was given up, and giving it again."""

import io

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import NOW, PHONE, after, message, report, reports

from receiver.store.base import Dead, Done, RetryAt

# pending


def test_pending_tells_how_much_waits_for_whom_and_why(office: Office) -> None:
    office.store(*reports(3))
    office.stand("crm", "held", since=NOW, reason="connection refused")
    assert office.run("pending").lines[1].split() == ["crm", "3", "10", "s", "down", "connection", "refused"]


def test_pending_of_a_handler_lists_each_dispatch(office: Office) -> None:
    first, second = office.store(*reports(2))
    office.settle("crm", RetryAt(after(70), "busy"))
    shown = [line.split() for line in office.run("pending", "--handler", "crm").lines[1:]]
    assert shown == [
        ["crm:1", first, "10", "s", "1", "in", "1", "min", "busy"],
        ["crm:2", second, "10", "s", "0", "now"],
    ]


def test_pending_as_json_is_one_dispatch_a_line_without_a_limit(office: Office) -> None:
    ids = office.store(*reports(60))
    office.settle("crm", RetryAt(after(70), "busy"))
    shown = office.run("pending", "--json").records
    assert [record["event"] for record in shown] == ids
    assert shown[0] == {
        "dispatch": "crm:1",
        "handler": "crm",
        "event": ids[0],
        "attempts": 1,
        "reason": "busy",
        "received_at": "2026-03-02T10:42:00.123456Z",
        "due_at": "2026-03-02T10:43:10.123456Z",
    }
    assert len(office.run("pending", "--json", "--limit", "2").records) == 2
    assert len(office.run("pending", "--handler", "crm").lines) == 51


@pytest.mark.parametrize("chosen", [["crm:1"], ["--handler", "crm"], ["--reason", "BUSY"], ["--all"]])
def test_pending_retry_makes_due_now(office: Office, chosen: list[str]) -> None:
    (name,) = office.store(report())
    office.settle("crm", RetryAt(after(3600), "busy"))
    ended = office.run("pending", "retry", *chosen)
    assert (ended.status, ended.out) == (0, "1 dispatch due now\n")
    (line,) = office.dispatches(name)
    assert (line.state, line.due_at) == ("pending", None)
    assert ended.audit["command"] == "pending retry"


def test_nothing_waits_is_fine(office: Office) -> None:
    for command in (["pending"], ["pending", "--json"], ["pending", "--handler", "crm"], ["pending", "list"]):
        ended = office.run(*command)
        assert (ended.status, ended.out) == (0, "")
    assert office.run("pending").err == "Nothing waits.\n"


# dead


def test_dead_lists_what_scripts_rely_on(office: Office) -> None:
    (name,) = office.store(report())
    office.settle("crm", Dead("401"))
    expected = {"dispatch": "crm:1", "handler": "crm", "event": name, "attempts": 1, "reason": "401"}
    assert office.run("dead", "--json").records == [expected | {"died_at": "2026-03-02T10:42:00.123456Z"}]
    assert office.run("dead", "list").lines[1].split() == ["crm:1", name, "1", "11:42:00", "401"]


def test_dead_is_narrowed_down_by_handler_time_and_reason(office: Office) -> None:
    office.enrol("crm", "shop")
    office.store(*reports(2))
    office.settle("crm", Dead("Bad signature"), Dead("gone"))
    office.settle("shop", Dead("gone"), at=after(hours=-3))

    def found(*chosen: str) -> list[str]:
        return [record["dispatch"] for record in office.run("dead", "--json", *chosen).records]

    assert found("--handler", "shop") == ["shop:1"]
    assert found("--since", "1h") == ["crm:1", "crm:2"]
    assert found("--reason", "SIGN") == ["crm:1"]


@pytest.mark.parametrize(
    ("act", "counted"), [("retry", {"pending": 1, "dead": 1}), ("discard", {"cancelled": 1, "dead": 1})]
)
def test_dead_letters_are_tried_again_or_given_up_by_id(office: Office, act: str, counted: dict[str, int]) -> None:
    office.store(*reports(2))
    office.settle("crm", Dead("401"), Dead("402"))
    ended = office.run("dead", act, "crm:2")
    assert ended.status == 0
    assert office.counts() == counted
    assert [record["dispatch"] for record in office.run("dead", "--json").records] == ["crm:1"]
    audit = {key: ended.audit[key] for key in ("command", "count", "ids")}
    assert audit == {"command": f"dead {act}", "count": 1, "ids": ["crm:2"]}
    assert {"user", "uid"} <= ended.audit.keys()


def test_an_id_that_is_not_there_is_exit_1_and_the_others_are_done(office: Office) -> None:
    office.store(report())
    office.settle("crm", Dead("401"))
    ended = office.run("dead", "retry", "crm:1", "crm:9")
    assert (ended.status, ended.out) == (1, "1 dispatch due now\n")
    assert "crm:9: not found" in ended.err


def test_ids_that_are_not_there_never_select_the_rest(office: Office) -> None:
    office.store(report())
    office.settle("crm", Dead("401"))
    ended = office.run("dead", "discard", "nonsense")
    assert (ended.status, ended.acted) == (1, False)
    assert office.counts() == {"dead": 1}


@pytest.mark.parametrize("act", [["dead", "retry"], ["dead", "discard"], ["pending", "retry"]])
def test_without_any_choice_nothing_is_done(office: Office, act: list[str]) -> None:
    assert office.run(*act).status == 2
    assert office.run(*act, "--all", "--handler", "crm").status == 2


def test_an_option_before_the_act_is_refused_because_it_would_not_narrow_it_down(office: Office) -> None:
    office.store(report())
    office.settle("crm", Dead("401"))
    ended = office.run("dead", "--handler", "shop", "discard", "--all")
    assert (ended.status, office.counts()) == (2, {"dead": 1})
    assert "--handler belongs behind the command" in ended.err


def test_a_configuration_named_before_the_act_is_the_one_that_counts(office: Office) -> None:
    (office.folder / "other.toml").write_text('[store]\nurl = "sqlite:///other.db"\n')
    assert office.run("dead", "--config", "other.toml", "retry", "--all").status == 78
    assert office.run("dead", "retry", "--all").status == 0


def test_an_unknown_handler_is_exit_1_with_those_there_are(office: Office) -> None:
    for command in (["pending"], ["dead"], ["dead", "retry"], ["replay"]):
        ended = office.run(*command, "--handler", "cmr")
        assert ended.status == 1
        assert 'no handler "cmr"; known: crm; did you mean crm?' in ended.err


def test_what_is_due_again_for_a_paused_handler_names_the_cure(office: Office) -> None:
    office.store(report())
    office.settle("crm", Dead("401"))
    office.stand("crm", "paused", since=NOW, reason="410")
    assert "receiver handlers resume crm" in office.run("dead", "retry", "--handler", "crm").err


# replay


def test_replay_gives_stored_events_again(office: Office) -> None:
    first, second = office.store(report("m-1"), report("m-2"))
    office.settle("crm", Done(), Done())
    ended = office.run("replay", "--handler", "crm", "--message", "m-2", "--yes")
    assert (ended.status, ended.out) == (0, "1 event for crm\n")
    assert [line.state for line in office.dispatches(first)] == ["done"]
    assert [(line.state, line.replay) for line in office.dispatches(second)] == [("done", 0), ("pending", 1)]
    assert ended.audit["count"] == 1


def test_a_dry_run_only_counts(office: Office) -> None:
    office.store(*reports(3))
    office.settle("crm", Done(), Done(), Done())
    ended = office.run("replay", "--handler", "crm", "--since", "1h", "--dry-run")
    assert (ended.status, ended.out, ended.acted) == (0, "3 events for crm\n", False)
    assert office.counts() == {"done": 3}


@pytest.mark.parametrize(("answer", "status", "pending"), [("y\n", 0, 1), ("n\n", 1, 0), ("", 1, 0)])
def test_replay_asks_first(
    office: Office, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, pending: int
) -> None:
    office.store(report())
    office.settle("crm", Done())
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert office.run("replay", "--handler", "crm").status == status
    assert office.counts().get("pending", 0) == pending


def test_replay_of_events_that_are_not_there_is_exit_1(office: Office) -> None:
    (name,) = office.store(report())
    office.settle("crm", Done())
    other = "0198c0de-6a1f-7c52-9d6e-0a4c5b6d7e8f"
    assert office.run("replay", "--handler", "crm", "--event", name, "--event", other, "--yes").status == 1
    assert office.counts() == {"done": 1, "pending": 1}
    assert office.run("replay", "--handler", "crm", "--event", "4711").status == 2


def test_a_handler_that_is_not_configured_is_given_nothing(office: Office) -> None:
    office.store(report())
    office.enrol("other")
    ended = office.run("replay", "--handler", "crm", "--yes")
    assert ended.status == 1
    assert "crm is not configured" in ended.err


def test_the_audit_line_masks_the_number(office: Office) -> None:
    office.store(message())
    ended = office.run("replay", "--handler", "crm", "--number", PHONE, "--yes")
    assert ended.audit["number"] == "+31*******78"
