"""What a callback with the right secret becomes, and what its sender is told."""

import shutil
from pathlib import Path

import pytest
from web_kit import BULKVS_SECRET, DLR, FORM, MESSAGE, MO, NAMELESS, REPORT, SECRET, WEBHOOK, Site

from receiver.store.sqlite import SqliteStore
from receiver.store.views import Selector

pytestmark = pytest.mark.anyio

NOTHING = {
    "no query and no body": ("GET", b"", ""),
    "an empty POST": ("POST", b"", "application/x-www-form-urlencoded"),
    "an empty object": ("POST", b"{}", "application/json"),
    "an empty object with white space": ("POST", b" {}\r\n", "application/json"),
    "an empty object with space inside": ("POST", b"{ }", "application/json"),
    "an empty list": ("POST", b"[]", "application/json"),
    "white space": ("POST", b"  \r\n\t", "text/plain"),
}
UNREADABLE = {
    "a report without RECIPIENT": ("GET", f"{DLR}?ID=a1&STATUS=10", b"", "RECIPIENT is missing"),
    "a report without ID": ("GET", f"{DLR}?RECIPIENT=31612345678&STATUS=10", b"", "ID is missing"),
    "a message without MSISDN": ("POST", MO, b"SHORTCODE=3010&PARM=hi", "MSISDN is missing"),
    "a stranger's parameters": ("GET", f"{DLR}?foo=bar", b"", "no callback of Spryng"),
    "a message without From": ("POST", WEBHOOK, b'{"To": ["13109060901"], "Message": "x"}', "From is missing"),
    "JSON that is cut off": ("POST", WEBHOOK, NAMELESS[:-5], "no JSON"),
    "a scalar": ("POST", WEBHOOK, b"17", "From is missing"),
    "over 1,000 parameters": ("GET", f"{REPORT}{'&x=1' * 1000}", b"", "over 1,000 parameters"),
}


@pytest.mark.parametrize(("method", "body", "content_type"), NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize(("path", "purpose"), [(MO, "inbound messages"), (WEBHOOK, "messages and delivery reports")])
async def test_a_test_of_the_url_is_told_which_url_it_is_and_that_the_secret_is_right(
    site: Site, path: str, purpose: str, method: str, body: bytes, content_type: str
) -> None:
    answer = await site.send(method, path, body, content_type=content_type)
    assert (answer.status, answer.outcome, answer.event) == (200, "ignored", None)
    name = path.split("/")[2]
    assert f'{purpose} URL of source "{name}"' in answer.body.decode()
    assert "the secret is right" in answer.body.decode()
    assert await site.is_empty()


@pytest.mark.parametrize(("method", "path", "body", "missing"), UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_kept_with_its_bytes_and_its_sender_told_why(
    site: Site, method: str, path: str, body: bytes, missing: str
) -> None:
    answer = await site.send(method, path, body, content_type="text/plain")
    assert (answer.status, answer.outcome, answer.event) == (200, "quarantined", None)
    assert missing in answer.body.decode()
    (kept,) = await site.quarantine()
    assert (kept.callback.method, kept.callback.body, kept.callback.content_type) == (method, body, "text/plain")
    assert kept.callback.query == path.partition("?")[2].encode()
    assert missing in kept.reason
    assert await site.events() == []


async def test_a_stored_callback_is_answered_ok_with_the_id_of_its_event(site: Site) -> None:
    answer = await site.get(REPORT)
    assert (answer.status, answer.body, answer.outcome) == (200, b"OK", "stored")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.event == (await site.event()).id


async def test_an_answer_names_each_event_of_a_callback_in_its_order(site: Site) -> None:
    to = '[{"phone_number": "+13105551212", "status": "sent"}, {"phone_number": "+13105551213", "status": "sent"}]'
    body = f'{{"data": {{"id": "m1", "payload": {{"direction": "outbound", "to": {to}}}}}}}'.encode()
    answer = await site.post(WEBHOOK, body)
    events = await site.events()
    assert (answer.outcome, answer.event) == ("stored", ",".join(event.id for event in events))
    assert [event.data["recipient"] for event in events] == ["+13105551212", "+13105551213"]


async def test_what_is_stored_is_on_the_disk_when_it_is_answered(site: Site, tmp_path: Path) -> None:
    await site.get(REPORT)
    copy = shutil.copytree(site.folder / "var", tmp_path / "after the crash") / "receiver.db"
    store = await SqliteStore.open(copy, "command")
    assert [stored.event.message_id async for stored in store.events(Selector())] == ["a1"]
    await store.close()


async def test_the_bytes_of_a_callback_are_kept_as_they_came(site: Site) -> None:
    body = MESSAGE + b"&X=%E9+\xff"
    await site.post(f"{MO}?a=%41&b=+", body, content_type="application/x-www-form-urlencoded; charset=x")
    (kept,) = await site.kept()
    callback = kept.callback
    assert (callback.method, callback.query, callback.body) == ("POST", b"a=%41&b=+", body)
    assert (callback.source, callback.endpoint) == ("spryng", "mo")
    assert callback.content_type == "application/x-www-form-urlencoded; charset=x"


RIGHT = {
    "a report": ("GET", REPORT, b""),
    "a report by POST": ("POST", DLR, REPORT.partition("?")[2].encode()),
    "a message": ("POST", MO, MESSAGE),
    "a message by GET": ("GET", f"{MO}?{MESSAGE.decode()}", b""),
    "a message at the one webhook": ("POST", WEBHOOK, NAMELESS),
    "a message of the old API": ("GET", f"{WEBHOOK}?from=13105551212&to=13109060901&message=OK", b""),
}
WRONG = {
    "a message in the report URL": ("GET", f"{DLR}?{MESSAGE.decode()}", b""),
    "a message posted to the report URL": ("POST", DLR, MESSAGE),
    "a report in the message URL": ("GET", REPORT.replace("/dlr/", "/mo/"), b""),
    "a report posted to the message URL": ("POST", MO, REPORT.partition("?")[2].encode()),
}


@pytest.mark.parametrize(("method", "path", "body"), RIGHT.values(), ids=RIGHT)
async def test_get_and_post_are_taken_at_every_endpoint(site: Site, method: str, path: str, body: bytes) -> None:
    assert (await site.send(method, path, body, **FORM)).outcome == "stored"
    assert "wrong_endpoint" not in (await site.event()).notes


@pytest.mark.parametrize(("method", "path", "body"), WRONG.values(), ids=WRONG)
async def test_what_came_to_another_endpoint_is_read_and_noted(site: Site, method: str, path: str, body: bytes) -> None:
    assert (await site.send(method, path, body, **FORM)).outcome == "stored"
    event = await site.event()
    assert event.kind == ("mo" if "message" in path or b"PARM" in body or "PARM" in path else "dlr")
    assert event.notes.count("wrong_endpoint") == 1


async def test_an_event_is_stamped_with_where_it_came_from_and_when(site: Site) -> None:
    await site.get(REPORT)
    told = (await site.event()).data
    assert (told["source"], told["provider"], told["received_at"]) == (
        "spryng",
        "spryng",
        "2026-03-02T10:42:00.123456Z",
    )


@pytest.mark.parametrize(("header", "simulated"), [("1", True), ("0", False), ("true", False)])
async def test_only_the_header_makes_an_event_a_simulated_one(site: Site, header: str, simulated: bool) -> None:
    await site.get(REPORT, receiver_simulated=header)
    event = await site.event()
    assert (event.simulated, event.data["simulated"]) == (simulated, simulated)


async def test_simulated_callbacks_are_not_counted_as_stored(site: Site) -> None:
    await site.get(REPORT, receiver_simulated="1")
    (source,) = (await site.store.stats(site.clock())).sources
    assert (source.stored, source.simulated) == (0, 1)


@pytest.mark.parametrize("secret", [SECRET, BULKVS_SECRET])
async def test_no_answer_repeats_the_secret(site: Site, secret: str) -> None:
    answers = [
        await site.get(DLR),
        await site.get(REPORT),
        await site.get(f"{DLR}?x=1"),
        await site.get(WEBHOOK),
        await site.get("/in/spryng/dlr/" + secret[::-1]),
    ]
    assert [answer for answer in answers if secret in f"{answer}"] == []


async def test_no_stored_callback_holds_the_secret(site: Site) -> None:
    for path in (REPORT, f"{DLR}?x=1", DLR, f"{DLR}x?x=1"):
        await site.get(path, referer=f"https://example.com{DLR}")
    await site.store.close()
    files = [file for file in (site.folder / "var").rglob("*") if file.is_file()]
    assert any(b"31612345678" in file.read_bytes() for file in files)
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
