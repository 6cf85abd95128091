"""Whatever a callback holds, it is never answered 5xx, and the receiver goes on."""

import random
from urllib.parse import quote_from_bytes

import pytest
from web_kit import BULKVS_SECRET, DLR, FORM, MESSAGE, MO, REPORT, SECRET, WEBHOOK, Site

pytestmark = pytest.mark.anyio

DEEP = b"[" * 60_000
BODIES = {
    "NUL": b"MSISDN=3161\0&PARM=\0&SHORTCODE=%00",
    "lone surrogates": b'{"From": "13105551212", "Message": "\\ud800 \\udfff", "To": ["\\udc00"]}',
    "surrogates as bytes": b"MSISDN=31612345678&PARM=\xed\xa0\x80",
    "deep lists": DEEP,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep inside a field": b'{"From": "13105551212", "Message": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "2**63": b'{"From": 9223372036854775808, "To": [18446744073709551616], "Message": 1e400}',
    "a very long integer": b'{"From": ' + b"9" * 5_000 + b"}",
    "NaN and Infinity": b'{"From": "1", "Message": NaN, "To": [Infinity, -Infinity]}',
    "no object": b'"From"',
    "a list of callbacks": b'[{"From": "13105551212"}]',
    "objects for words": b'{"From": {"a": 1}, "To": {"b": []}, "Message": {"c": null}, "RefId": [1]}',
    "true for words": b'{"From": true, "To": false, "Message": null}',
    "the same name twice": b'{"From": "1", "From": "2", "from": "3"}',
    "an envelope of nonsense": b'{"data": {"payload": {"direction": "outbound", "to": {"phone_number": []}}}}',
    "a byte order mark": b"\xef\xbb\xbf{",
    "UTF-16": '{"From": "13105551212"}'.encode("utf-16"),
    "bytes": bytes(range(256)),
    "percent garbage": b"MSISDN=%&PARM=%zz%1&%=%&%%%",
    "ampersands": b"&" * 60_000,
    "equals signs": b"=" * 60_000,
    "1,001 parameters": b"&".join(b"x%d=1" % number for number in range(1_001)),
    "1,001 times one": b"MSISDN=1&" * 1_001,
    "impossible times": b"MSISDN=31612345678&PARM=x&TIMESTAMP=99999999999999",
    "the year 0": b"MSISDN=31612345678&PARM=x&TIMESTAMP=00000101000000",
    "digits of other scripts": "MSISDN=٣١٦١٢٣٤٥٦٧٨&PARM=²&TIMESTAMP=٢٠٢٥٠٢٢٠١١٤٢٠٠".encode(),
    "markup": b"MSISDN=<script>&PARM=%0d%0aX-Evil: 1&SHORTCODE=';--",
    "a very long number": b"MSISDN=" + b"3" * 60_000,
    "a multipart body without an end": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
}
TYPES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain; charset=klingon",
    "",
)
PATHS = {
    "an invalid escape": "/in/%zz/%/%%",
    "invalid UTF-8": f"/in/spryng/%ff%fe/{SECRET}",
    "invalid UTF-8 for a secret": "/in/spryng/dlr/%ff%c0%80",
    "NUL": "/in/spryng%00/dlr/x",
    "a surrogate": "/in/spryng/dlr/%ed%a0%80",
    "a very long path": f"/in/spryng/dlr/{'x' * 60_000}",
    "many parts": "/in" + "/x" * 10_000,
    "dots": f"/in/../in/spryng/dlr/{SECRET}",
    "an encoded name of another script": "/in/%D1%81/dlr/x",
    "a line break": "/in/spryng/dlr/%0d%0aX-Evil:%201",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_no_body_costs_a_5xx(site: Site, body: bytes) -> None:
    for path in (MO, WEBHOOK):
        for content_type in TYPES:
            answer = await site.post(path, body, content_type=content_type)
            assert (answer.status, answer.outcome) in {
                (200, "stored"), (200, "duplicate"), (200, "quarantined"), (200, "ignored"),
            }  # fmt: skip
    assert (await site.get(REPORT)).outcome == "stored"


@pytest.mark.parametrize("body", [body for body in BODIES.values() if len(body) < 20_000])
async def test_no_query_costs_a_5xx(site: Site, body: bytes) -> None:
    for query in (quote_from_bytes(body), quote_from_bytes(body, safe="&=%{}[]\"',:+")):
        for path in (DLR, MO, WEBHOOK):
            assert (await site.get(f"{path}?{query}")).status in (200, 400)  # 400: no HTTP at all
    assert (await site.get(REPORT)).outcome == "stored"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_a_strange_path_is_a_stranger(site: Site, path: str) -> None:
    known = await site.get("/in/spryng/dlr/wrong-wrong-wrong")
    answer = await site.get(path)
    assert (answer.status, answer.body, *answer.headers) == (404, known.body, *known.headers)


async def test_random_bytes_are_taken_as_they_come(site: Site) -> None:
    chance = random.Random(2026)
    async with site.client() as client:
        for _ in range(300):
            body = bytearray(chance.choice((MESSAGE, *BODIES.values()))[:500])
            for _ in range(chance.randrange(8)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            answer = await client.send(
                "POST", chance.choice((MO, WEBHOOK)), bytes(body), content_type=chance.choice(TYPES)
            )
            assert (answer.status, answer.outcome is not None) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "é" * 1_000},
        {"x_forwarded_for": "," * 10_000},
        {"x_forwarded_for": "é"},
        {"receiver_simulated": "1, 1"},
        {"upgrade": "h2c", "connection": "upgrade, http2-settings", "http2_settings": "AAMAAABkAAQ"},
        {"upgrade": "websocket", "connection": "upgrade", "sec_websocket_key": "x"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_strange_headers_change_nothing(site: Site, headers: dict[str, str]) -> None:
    assert (await site.post(MO, MESSAGE, **(FORM | headers))).status == 200
    assert (await site.get(REPORT, **headers)).outcome == "stored"


async def test_huge_values_arrive_whole(site: Site) -> None:
    text = "é" * 20_000
    body = f'{{"From": "13105551212", "To": ["13109060901"], "Message": "{text}"}}'.encode()
    assert (await site.post(f"/in/bulkvs/webhook/{BULKVS_SECRET}", body)).outcome == "stored"
    assert (await site.event()).data["text"] == text
