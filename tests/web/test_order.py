"""The order in which a request is checked: strangers first, then the method, then whether it can be stored."""

import pytest
from web_kit import BULKVS_SECRET, DLR, FORM, MESSAGE, MO, NEXT_SECRET, REPORT, SECRET, WEBHOOK, Site, request

from receiver import source
from receiver.source import digest

pytestmark = pytest.mark.anyio

STRANGE = {
    "unknown source": f"/in/nexmo/dlr/{SECRET}",
    "unknown endpoint": f"/in/spryng/webhook/{SECRET}",
    "no secret": "/in/spryng/dlr",
    "no secret, with a slash": "/in/spryng/dlr/",
    "wrong secret": "/in/spryng/dlr/not-the-secret-of-spryng",
    "another source's secret": f"/in/spryng/dlr/{BULKVS_SECRET}",
    "a secret in another case": f"/in/spryng/dlr/{SECRET.upper()}",
    "a part of the secret": f"/in/spryng/dlr/{SECRET[:-1]}",
    "something behind the secret": f"{DLR}/x",
    "no endpoint": "/in/spryng",
    "no source": "/in/",
    "nothing": "/in",
    "another path": "/",
    "a path elsewhere": f"/on/spryng/dlr/{SECRET}",
    "a source's name in another case": f"/in/Spryng/dlr/{SECRET}",
    "an empty part": f"/in//spryng/dlr/{SECRET}",
}


@pytest.mark.parametrize("path", STRANGE.values(), ids=STRANGE)
async def test_a_stranger_gets_one_answer_whatever_was_wrong(site: Site, path: str) -> None:
    known = await site.get("/in/spryng/dlr/wrong-wrong-wrong")
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        answer = await site.send(method, path, MESSAGE if method == "POST" else b"")
        assert (answer.status, answer.body, *answer.headers) == (404, known.body, *known.headers)
    assert await site.is_empty()


async def test_a_stranger_is_answered_before_the_body_is_read(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", "/in/spryng/mo/wrong-wrong-wrong", content_length="60000"))
        assert (await client.answer()).status == 404


async def test_a_stranger_is_never_asked_for_the_body(site: Site) -> None:
    async with site.client() as client:
        head = request("POST", "/in/spryng/mo/wrong-wrong-wrong", content_length="60000", expect="100-continue")
        client.write(head)
        assert (await client.answer()).status == 404


async def test_who_asks_first_and_has_the_secret_is_asked_for_the_body(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", MO, content_length=str(len(MESSAGE)), expect="100-continue", **FORM))
        assert (await client.answer()).status == 100
        client.write(MESSAGE)
        assert (await client.answer()).outcome == "stored"


async def test_a_connection_lives_on_after_a_refused_body(site: Site) -> None:
    async with site.client() as client:
        assert (await client.send("POST", "/in/spryng/mo/wrong-wrong-wrong", MESSAGE, **FORM)).status == 404
        assert (await client.send("POST", MO, MESSAGE, **FORM)).outcome == "stored"


async def test_refusals_are_counted_by_source(site: Site) -> None:
    for path in STRANGE.values():
        await site.get(path)
    await site.get(REPORT)  # takes the counts along in its commit
    (source,) = (await site.store.stats(site.clock())).sources
    callback_urls = [path for path in STRANGE.values() if path.startswith("/in/spryng/") and path != f"{DLR}/x"]
    assert (source.source, source.refused) == ("spryng", len(callback_urls))


async def test_a_wrong_secret_at_a_known_source_is_told_to_who_counts_them(site: Site) -> None:
    for name in ("wrong secret", "no secret", "unknown source", "unknown endpoint"):
        await site.get(STRANGE[name])
    assert site.wrong_secrets == ["spryng"]


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET])
async def test_every_live_secret_is_taken(site: Site, secret: str) -> None:
    assert (await site.get(REPORT.replace(SECRET, secret))).outcome == "stored"


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET, "wrong-wrong-wrong"])
async def test_a_secret_is_compared_with_all_live_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Otherwise the time of an answer would tell which one was right."""
    compared = []
    monkeypatch.setattr(source, "compare_digest", lambda given, live: compared.append(live) or given == live)
    await site.get(REPORT.replace(SECRET, secret))
    assert compared == [digest(SECRET), digest(NEXT_SECRET)]


async def test_a_trailing_slash_changes_nothing(site: Site) -> None:
    assert (await site.get(REPORT.replace("?", "/?"))).outcome == "stored"
    assert (await site.get(REPORT)).outcome == "duplicate"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_a_probe_stores_nothing(site: Site, method: str) -> None:
    answer = await site.send(method, REPORT)
    assert (answer.status, answer.outcome) == (200, "ignored")
    assert await site.is_empty()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "PROPFIND"])
@pytest.mark.parametrize("path", [REPORT, MO, WEBHOOK])
async def test_another_method_is_told_which_ones_there_are(site: Site, method: str, path: str) -> None:
    answer = await site.send(method, path)
    assert answer.status == 405
    assert {"GET", "POST"} <= {name.strip() for name in answer.headers["allow"].split(",")}
    assert await site.is_empty()


async def test_methods_are_judged_before_the_store(site: Site) -> None:
    await site.store.close()
    assert (await site.send("HEAD", REPORT)).status == 200
    assert (await site.send("PUT", REPORT)).status == 405


async def test_the_store_is_judged_before_the_body(site: Site) -> None:
    await site.store.close()
    async with site.client() as client:
        client.write(request("POST", MO, content_length="60000", **FORM))
        assert (await client.answer()).status == 503


async def test_a_body_of_the_largest_size_is_taken(site: Site) -> None:
    padding = b"&X=" + b"x" * (64 * 1024 - len(MESSAGE) - 3)
    assert (await site.post(MO, MESSAGE + padding, **FORM)).outcome == "stored"


async def test_a_body_over_the_largest_size_is_413_as_soon_as_it_shows(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", MO, content_length="1000000", **FORM))
        client.write(b"x" * (64 * 1024 + 1))
        assert (await client.answer()).status == 413
    assert await site.is_empty()


async def test_a_body_of_unknown_length_is_counted_while_it_is_read(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", MO, transfer_encoding="chunked", **FORM))
        for _ in range(65):
            client.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert (await client.answer()).status == 413
    assert await site.is_empty()


async def test_a_chunked_body_is_taken(site: Site) -> None:
    chunk = f"{len(MESSAGE):x}\r\n".encode() + MESSAGE + b"\r\n0\r\n\r\n"
    async with site.client() as client:
        client.write(request("POST", MO, transfer_encoding="chunked", **FORM) + chunk)
        assert (await client.answer()).outcome == "stored"
    assert (await site.event()).data["text"] == "INFO graag"
