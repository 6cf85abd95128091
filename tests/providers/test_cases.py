"""Every recorded request becomes what its case says; the cases are data files, one folder a provider."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.callback import Callback
from receiver.errors import Unreadable
from receiver.events import Event
from receiver.providers.bulkvs import BulkVS
from receiver.providers.spryng import Spryng

CASES = Path(__file__).parent / "cases"
PROVIDERS = {"spryng": Spryng, "bulkvs": BulkVS}
USUAL = {
    "spryng": {"dlr": ("GET", ""), "mo": ("POST", "application/x-www-form-urlencoded")},
    "bulkvs": {"webhook": ("POST", "application/json")},
}
KEYS = {
    "law", "evidence", "settings", "endpoint", "method", "query", "query_hex", "content_type", "body", "body_hex",
    "body_latin1", "event", "events", "nulls", "notes", "certain", "home", "unreadable", "nothing", "same_as",
    "other_than",
}  # fmt: skip
RECEIVED_AT = datetime(2026, 9, 17, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    provider: str
    file: str
    says: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.provider}/{self.file}: {self.says['law']}"

    def parsed(self) -> Sequence[Event]:
        kind = PROVIDERS[self.provider]
        return kind(kind.Settings(**self.says.get("settings", {}))).parse(self.callback())

    def callback(self) -> Callback:
        says = self.says
        endpoint = says.get("endpoint", "webhook")
        method, content_type = USUAL[self.provider][endpoint]
        return Callback(
            source=self.provider,
            endpoint=endpoint,
            method=says.get("method", method),
            query=bytes.fromhex(says["query_hex"]) if "query_hex" in says else says.get("query", "").encode(),
            content_type=says.get("content_type", content_type),
            body=_body(says),
            received_at=RECEIVED_AT,
        )

    def named(self, law: str) -> "Case":
        (found,) = (case for case in ALL if case.provider == self.provider and case.says["law"] == law)
        return found


def _body(says: dict[str, Any]) -> bytes:
    if "body_hex" in says:
        return bytes.fromhex(says["body_hex"])
    return says["body_latin1"].encode("latin-1") if "body_latin1" in says else says.get("body", "").encode()


def _read() -> list[Case]:
    return [
        Case(path.parent.name, path.stem, says)
        for path in sorted(CASES.glob("*/*.toml"))
        for says in tomllib.loads(path.read_text())["case"]
    ]


ALL = _read()
READ = [case for case in ALL if not {"unreadable", "nothing"} & case.says.keys()]


@pytest.mark.parametrize("case", READ, ids=str)
def test_a_callback_becomes_its_events(case: Case) -> None:
    events = case.parsed()
    expected = case.says.get("events", [case.says.get("event", {})])
    assert len(events) == len(expected)
    for event, facts in zip(events, expected, strict=True):
        told = json.loads(event.to_json())["data"]
        assert {name: told[name] for name in facts} == facts
    told = events[0].data
    assert [name for name in case.says.get("nulls", []) if told[name] is not None] == []
    assert events[0].notes == case.says.get("notes", [])
    assert events[0].identity.certain is case.says.get("certain", True)


@pytest.mark.parametrize("case", [case for case in READ if {"same_as", "other_than"} & case.says.keys()], ids=str)
def test_an_identity_is_the_same_for_the_same_fact_alone(case: Case) -> None:
    says = case.says
    identity = case.parsed()[0].identity
    other = case.named(says.get("same_as") or says["other_than"]).parsed()[0].identity
    assert (identity == other) is ("same_as" in says)


@pytest.mark.parametrize("case", READ, ids=str)
def test_an_event_names_an_endpoint_of_its_provider_as_its_home(case: Case) -> None:
    kind = PROVIDERS[case.provider]
    callback = case.callback()
    home = kind(kind.Settings()).home(callback, case.parsed()[0])
    assert home == case.says.get("home", callback.endpoint)
    assert home in {endpoint.name for endpoint in kind.endpoints}


@pytest.mark.parametrize("case", [case for case in ALL if "unreadable" in case.says], ids=str)
def test_what_cannot_be_read_says_what_is_missing(case: Case) -> None:
    with pytest.raises(Unreadable) as fault:
        case.parsed()
    assert case.says["unreadable"] in str(fault.value)


@pytest.mark.parametrize("case", [case for case in ALL if "nothing" in case.says], ids=str)
def test_nothing_to_store_is_no_event(case: Case) -> None:
    assert list(case.parsed()) == []


def test_cases_use_known_keys_and_give_their_evidence() -> None:
    assert [str(case) for case in ALL if case.says.keys() - KEYS or not case.says.get("evidence")] == []
