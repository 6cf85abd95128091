"""`receiver doctor` as people and cron run it: what is printed, and the exit status."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import NOW, after, report, reports

from receiver.cli.doctor import examination
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.store.base import Dead

SECRET = "abcdefghijklmnop"
Found = Callable[..., None]
OF_THIS_MACHINE = ("disk", "fsync")


@pytest.fixture(autouse=True)
def synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's clock does."""

    async def unknown() -> None:
        return None

    monkeypatch.setattr("receiver.cli.doctor.clock._synchronised", unknown)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Let the examination find this."""

    def _found(*findings: Finding) -> None:
        async def examined(case: Any) -> AsyncIterator[Finding]:
            for finding in findings:
                yield finding

        monkeypatch.setattr(examination, "examined", examined)

    return _found


def test_all_is_well_is_exit_status_0(office: Office, found: Found) -> None:
    found(ok("clock", "synchronised"), skipped("source", "no callback yet", "spryng"))
    ended = office.run("doctor")
    assert ended.status == 0
    assert [line.split() for line in ended.lines[1:]] == [
        ["✓", "clock", "synchronised"],
        ["–", "source", "spryng", "no", "callback", "yet"],
    ]
    assert ended.err == "All is well: 3 checks.\n"


def test_a_problem_is_exit_status_1_and_its_cure_stands_below(office: Office, found: Found) -> None:
    found(problem("disk", "0 B free", "make room\nreceiver prune"))
    ended = office.run("doctor")
    assert (ended.status, ended.err) == (1, "1 problem.\n")
    assert ended.lines[1].split(maxsplit=2) == ["✗", "disk", "0 B free"]
    assert [line.strip() for line in ended.lines[2:]] == ["make room", "receiver prune"]


def test_quiet_is_silent_unless_there_is_a_problem(office: Office, found: Found) -> None:
    found(ok("clock", "synchronised"))
    ended = office.run("doctor", "--quiet")
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    found(ok("clock", "synchronised"), problem("disk", "full", "make room"))
    ended = office.run("doctor", "--quiet")
    assert (ended.status, len(ended.lines), ended.err) == (1, 2, "")


def test_json_is_one_object_a_line(office: Office, found: Found) -> None:
    found(problem("target", "10.0.0.1 is not public", "allow_private", "crm", days=3))
    configuration, target = office.run("doctor", "--json").records
    assert (configuration["check"], configuration["state"]) == ("configuration", "ok")
    assert target == {
        "check": "target",
        "state": "problem",
        "words": "10.0.0.1 is not public",
        "about": "crm",
        "cure": "allow_private",
        "facts": {"days": 3},
    }


@pytest.mark.parametrize("form", [[], ["--json"], ["--quiet"]])
def test_no_secret_and_nothing_a_terminal_obeys_is_printed(office: Office, found: Found, form: list[str]) -> None:
    found(problem("public URL", f"moved to https://x/{SECRET}\x1b[2J", f"curl https://x/{SECRET}"))
    ended = office.run("doctor", *form)
    assert SECRET not in ended.out + ended.err
    assert "\x1b" not in ended.out


def test_a_broken_configuration_is_78_with_a_line_for_each_fault(office: Office) -> None:
    office.configure('[sources.a]\nprovider = "spryng"\n[handlers.crm]\nuse = "lgo"\n')
    for form in ([], ["--json"]):
        ended = office.run("doctor", *form)
        assert ended.status == 78
        assert len(ended.err.splitlines()) == 2
        assert "handlers.crm.use: no handler" in ended.err
        assert "configuration" in ended.lines[0]
    assert json.loads(ended.out)["facts"]["faults"] == ended.err.splitlines()
    office.configure("[server")
    ended = office.run("doctor")
    assert (ended.status, ended.lines[0].split()[:2]) == (78, ["✗", "configuration"])


def test_without_a_database_it_is_78_and_none_is_made(tmp_path: Path, office: Office) -> None:
    office.configure('[store]\nurl = "sqlite:///elsewhere/receiver.db"\n')
    ended = office.run("doctor")
    assert ended.status == 78
    assert f"no database at {tmp_path}/elsewhere/receiver.db" in ended.out
    assert not (tmp_path / "elsewhere").exists()


def test_a_source_that_is_not_there_is_told_with_the_name_that_was_meant(office: Office) -> None:
    ended = office.run("doctor", "--source", "spring")
    assert ended.status == 1
    assert 'no source "spring"; configured: spryng; did you mean spryng?' in ended.err


def problems(office: Office, *arguments: str) -> dict[tuple[str, str], str]:
    """Those of a receiver that does not run, but for that."""
    (office.folder / "receiver.toml").chmod(0o600)
    found = [line for line in office.run("doctor", "--json", *arguments).records if line["state"] == "problem"]
    return {
        (line["check"], line["about"]): f"{line['words']}\n{line['cure']}"
        for line in found
        if line["check"] not in OF_THIS_MACHINE
    }


def test_what_the_store_knows_is_told_with_what_to_type(office: Office) -> None:
    office.store(*reports(2))
    office.settle("crm", Dead("no such customer"))
    office.quarantine()
    office.stand("crm", "paused", since=NOW, reason="told by +31612345678")
    found = problems(office)
    assert set(found) == {("service", ""), ("handler", "crm"), ("dead letters", "crm"), ("quarantine", "spryng")}
    assert "1 event waiting" in found["handler", "crm"]
    assert "receiver handlers resume crm" in found["handler", "crm"]
    assert "31612345678" not in found["handler", "crm"]
    assert "1 dead letter" in found["dead letters", "crm"]
    assert "receiver dead --handler crm" in found["dead letters", "crm"]
    assert "receiver quarantine" in found["quarantine", "spryng"]


def test_a_source_that_never_called_and_was_refused_has_a_wrong_url_in_its_portal(office: Office) -> None:
    assert ("source", "spryng") not in problems(office)
    office.refuse("spryng", 3)
    assert "receiver urls" in problems(office)["source", "spryng"]
    office.store(report())
    assert ("source", "spryng") not in problems(office)


def test_an_event_from_the_future_shows_that_the_clock_was_set(office: Office) -> None:
    office.store(report(received_at=after(10) + timedelta(minutes=5)))
    assert "5 min ahead of now" in problems(office)["clock", ""]


@pytest.mark.parametrize(
    ("version", "words", "cure"), [(1, "older schema", "start the receiver again"), (999, "newer version", "")]
)
def test_a_store_of_another_version_is_told_with_what_helps(
    office: Office, version: int, words: str, cure: str
) -> None:
    with closing(sqlite3.connect(office.folder / "receiver.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    assert words in problems(office)["store", ""]
    assert cure in problems(office)["store", ""]


def test_asked_about_one_source_it_is_silent_about_the_rest(office: Office) -> None:
    office.store(report())
    office.settle("crm", Dead("no such customer"))
    checks = {line["check"] for line in office.run("doctor", "--json", "--source", "spryng").records}
    assert checks == {"configuration", "service", "callbacks", "proxy headers", "public URL", "source", "quarantine"}


def test_root_reads_the_credentials_of_the_running_unit_where_all_of_them_are_there(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")  # whatever the doctor sets is taken back behind this test
    monkeypatch.setattr("receiver.cli.doctor.CREDENTIALS", tmp_path / "credentials")
    office.configure('[sources.spryng]\nprovider = "spryng"\nsecrets = [{ credential = "spryng" }]\n')

    def told() -> str:
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        return office.run("doctor").out

    unread = "credentials exist in the unit only"
    assert unread in told()
    (tmp_path / "credentials").mkdir()
    assert unread in told()
    (tmp_path / "credentials/spryng").write_text(SECRET)
    assert unread not in told()
