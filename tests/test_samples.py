"""Every recorded callback of the providers' cases, sent in order into one store, comes out as its case says."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from providers.test_cases import ALL, Case
from web_kit import BULKVS_SECRET, SECRET, Answer, Site, receiving

pytestmark = pytest.mark.anyio

SECRETS = {"spryng": SECRET, "bulkvs": BULKVS_SECRET}
SENT = [case for case in ALL if "settings" not in case.says]
"""Those that are read by a source as it is without further settings."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with receiving(tmp_path) as running:
        yield running


async def play(site: Site) -> list[tuple[Case, Answer]]:
    """Send every case, each as its provider would, over one connection."""
    answers = []
    async with site.client() as client:
        for case in SENT:
            callback = case.callback()
            path = f"/in/{case.provider}/{callback.endpoint}/{SECRETS[case.provider]}"
            head = f"{callback.method} {path}".encode() + (b"?" + callback.query if callback.query else b"")
            fields = f"host: x\r\ncontent-type: {callback.content_type}\r\ncontent-length: {len(callback.body)}"
            client.write(head + b" HTTP/1.1\r\n" + fields.encode() + b"\r\n\r\n" + callback.body)
            answers.append((case, await client.answer()))
    return answers


def expected(case: Case, seen: dict[tuple[str, ...], str]) -> str:
    """The outcome of a case, after those whose identities were seen."""
    if "unreadable" in case.says:
        return "quarantined"
    if "nothing" in case.says:
        return "ignored"
    known = [event.identity.certain and (case.provider, *event.identity.values) in seen for event in case.parsed()]
    return "duplicate" if all(known) else "stored"


def remember(case: Case, answer: Answer, seen: dict[tuple[str, ...], str]) -> None:
    """Note the ids of the events with an identity."""
    if answer.event:
        for event, known_by in zip(case.parsed(), answer.event.split(","), strict=True):
            if event.identity.certain:
                seen.setdefault((case.provider, *event.identity.values), known_by)


async def test_every_callback_has_its_outcome(site: Site) -> None:
    seen: dict[tuple[str, ...], str] = {}
    wrong = []
    for case, answer in await play(site):
        if (answer.status, answer.outcome) != (200, expected(case, seen)):
            wrong.append((str(case), answer))
        if "same_as" in case.says and case.says.get("certain", True) and answer.outcome != "duplicate":
            wrong.append((str(case), answer))
        remember(case, answer, seen)
    assert wrong == []


async def test_every_event_is_stored_as_its_case_says(site: Site) -> None:
    answers = await play(site)
    stored = {event.id: json.loads(event.to_json()) for event in await site.events()}
    wrong: list[Any] = []
    for case, answer in answers:
        if answer.outcome != "stored" or not answer.event:
            continue
        facts = case.says.get("events", [case.says.get("event", {})])
        for known_by, fact in zip(answer.event.split(","), facts, strict=True):
            told = stored[known_by]["data"]
            wrong += [(str(case), name, told[name]) for name in fact if told[name] != fact[name]]
            wrong += [(str(case), name, told[name]) for name in case.says.get("nulls", []) if told[name] is not None]
            moved = "home" in case.says and case.says["home"] != case.callback().endpoint
            notes = case.says.get("notes", []) + ["wrong_endpoint"] * moved
            wrong += [(str(case), "notes", told["notes"])] * (told["notes"] != notes)
    assert wrong == []


async def test_a_repeat_names_the_event_it_repeats(site: Site) -> None:
    seen: dict[tuple[str, ...], str] = {}
    wrong = []
    for case, answer in await play(site):
        if answer.outcome == "duplicate":
            firsts = [seen[case.provider, *event.identity.values] for event in case.parsed()]
            wrong += [(str(case), answer.event, firsts)] * (answer.event != ",".join(firsts))
        remember(case, answer, seen)
    assert wrong == []


async def test_what_cannot_be_read_is_told_and_kept_whole(site: Site) -> None:
    answers = await play(site)
    unread = [(case, answer) for case, answer in answers if "unreadable" in case.says]
    assert [str(case) for case, answer in unread if case.says["unreadable"] not in answer.body.decode()] == []
    kept = [(found.callback.query, found.callback.body) for found in await site.quarantine()]
    assert kept == [(case.callback().query, case.callback().body) for case, _ in unread]
