"""A callback that comes again is one event where anything can tell it; no second "OK" is taken for a retry."""

import asyncio
from pathlib import Path

import pytest
from web_kit import BULKVS_SECRET, DLR, FORM, LISTEN, MESSAGE, MO, NAMELESS, REPORT, WEBHOOK, Site, receiving, request

from drills.waiting import until

pytestmark = pytest.mark.anyio


async def fate(site: Site) -> str | None:
    """What became of the answer to the only event's first callback."""
    return (await site.kept())[0].fate


async def left_before_the_answer(site: Site) -> str:
    """The id of a message without identity whose sender hung up while we were storing it."""
    with site.locked():
        async with site.client() as client:
            client.write(request("POST", WEBHOOK, NAMELESS))
            await until(site.is_storing)
            client.hang_up()
            await until(lambda: not site.server.server_state.connections)
    await until(site.events)
    await until(lambda: is_unanswered(site))
    return (await site.event()).id


async def is_unanswered(site: Site) -> bool:
    return await fate(site) == "unanswered"


async def is_answered(site: Site) -> bool:
    return await fate(site) == "answered"


async def test_the_same_report_twice_is_one_event(site: Site) -> None:
    first, second = await site.get(REPORT), await site.get(REPORT)
    assert (first.outcome, second.outcome) == ("stored", "duplicate")
    assert (second.status, second.body, second.event) == (200, b"OK", first.event)
    assert [kept.outcome for kept in await site.kept()] == ["stored", "duplicate"]


async def test_a_repeat_in_another_dress_is_a_repeat(site: Site) -> None:
    query = "status=10&recipient=%2B31612345678&id=a%31&operator_status_at=20260302104158&REFERENCE=other"
    first = await site.get(REPORT)
    second = await site.post(DLR, query.encode(), **FORM)
    assert (second.outcome, second.event) == ("duplicate", first.event)


async def test_a_repeat_at_the_wrong_endpoint_is_a_repeat(site: Site) -> None:
    first = await site.post(MO, MESSAGE, **FORM)
    second = await site.post(DLR, MESSAGE, **FORM)
    assert (second.outcome, second.event) == ("duplicate", first.event)


async def test_many_at_once_are_one_event(site: Site) -> None:
    answers = await asyncio.gather(*(site.get(REPORT) for _ in range(20)))
    assert sorted(answer.outcome or "" for answer in answers) == ["duplicate"] * 19 + ["stored"]
    assert {answer.event for answer in answers} == {(await site.event()).id}
    assert len(await site.kept()) == 20


async def test_duplicates_are_counted(site: Site) -> None:
    for _ in range(3):
        await site.get(REPORT)
    (source,) = (await site.store.stats(site.clock())).sources
    assert (source.stored, source.duplicates) == (1, 2)


async def test_a_callback_with_a_new_and_an_old_event_is_stored(site: Site) -> None:
    def body(*numbers: str) -> bytes:
        to = ", ".join(f'{{"phone_number": "{number}", "status": "sent"}}' for number in numbers)
        return f'{{"data": {{"id": "m1", "payload": {{"direction": "outbound", "to": [{to}]}}}}}}'.encode()

    first = await site.post(WEBHOOK, body("+13105551212"))
    both = await site.post(WEBHOOK, body("+13105551212", "+13105551213"))
    events = [event.id for event in await site.events()]
    assert (both.outcome, both.event) == ("stored", ",".join(events))
    assert events[0] == first.event


async def test_what_cannot_be_read_is_kept_each_time(site: Site) -> None:
    for _ in range(2):
        assert (await site.get(f"{DLR}?x=1")).outcome == "quarantined"
    assert len(await site.quarantine()) == 2


async def test_a_second_ok_soon_after_is_a_message_with_a_suspicion(site: Site) -> None:
    first = await site.post(WEBHOOK, NAMELESS)
    await until(lambda: is_answered(site))
    site.clock.forward(seconds=9)
    second = await site.post(WEBHOOK, NAMELESS)
    assert second.outcome == "stored"
    assert [event.data["suspected_duplicate_of"] for event in await site.events()] == [None, first.event]


async def test_a_second_ok_later_is_a_message_like_any_other(site: Site) -> None:
    await site.post(WEBHOOK, NAMELESS)
    await until(lambda: is_answered(site))
    site.clock.forward(seconds=11)
    assert (await site.post(WEBHOOK, NAMELESS)).outcome == "stored"
    assert [event.data["suspected_duplicate_of"] for event in await site.events()] == [None, None]


async def test_two_at_once_without_identity_are_two_messages(site: Site) -> None:
    answers = await asyncio.gather(*(site.post(WEBHOOK, NAMELESS) for _ in range(2)))
    assert [answer.outcome for answer in answers] == ["stored", "stored"]
    first, second = await site.events()
    assert (first.data["suspected_duplicate_of"], second.data["suspected_duplicate_of"]) == (None, first.id)


async def test_who_left_before_the_answer_and_comes_again_is_a_repeat(site: Site) -> None:
    first = await left_before_the_answer(site)
    site.clock.forward(minutes=1)
    again = await site.post(WEBHOOK, NAMELESS)
    assert (again.status, again.outcome, again.event) == (200, "duplicate", first)
    assert len(await site.kept()) == 2


async def test_a_retry_that_was_answered_ends_the_matter(site: Site) -> None:
    await left_before_the_answer(site)
    await site.post(WEBHOOK, NAMELESS)
    await until(lambda: is_answered(site))
    site.clock.forward(minutes=1)
    assert (await site.post(WEBHOOK, NAMELESS)).outcome == "stored"


async def test_a_day_later_nothing_is_a_retry(site: Site) -> None:
    await left_before_the_answer(site)
    site.clock.forward(hours=24)
    assert (await site.post(WEBHOOK, NAMELESS)).outcome == "stored"


async def test_with_mo_dedupe_off_who_left_is_taken_twice(tmp_path: Path) -> None:
    source = f'[sources.bulkvs]\nprovider = "bulkvs"\nsecrets = ["{BULKVS_SECRET}"]\nmo_dedupe = "off"\n'
    async with receiving(tmp_path, LISTEN + source) as site:
        with site.locked():
            async with site.client() as client:
                client.write(request("POST", WEBHOOK, NAMELESS))
                await until(site.is_storing)
                client.hang_up()
                await until(lambda: not site.server.server_state.connections)
        await until(site.events)
        assert (await site.post(WEBHOOK, NAMELESS)).outcome == "stored"


async def test_who_has_an_identity_and_left_is_a_repeat_as_well(site: Site) -> None:
    with site.locked():
        async with site.client() as client:
            client.write(request("POST", MO, MESSAGE, **FORM))
            await until(site.is_storing)
            client.hang_up()
            await until(lambda: not site.server.server_state.connections)
    (first,) = await until(site.events)
    again = await site.post(MO, MESSAGE, **FORM)
    assert (again.outcome, again.event) == ("duplicate", first.id)


async def test_a_request_that_ends_in_its_middle_is_nothing(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", MO, content_length=str(len(MESSAGE)), **FORM) + MESSAGE[:-5])
        await until(site.is_answering)
        client.hang_up()
        await until(lambda: not site.is_answering())
    assert await site.is_empty()
