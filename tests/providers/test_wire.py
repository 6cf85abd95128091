"""Decoding keeps its limits, and no content raises anything but Unreadable."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.callback import Callback
from receiver.errors import Unreadable
from receiver.providers import times, wire
from receiver.providers.bulkvs import BulkVS, BulkVSSettings
from receiver.providers.spryng import Spryng, SpryngSettings

PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
READERS = (Spryng(SpryngSettings()), *(BulkVS(BulkVSSettings(text_encoding=how)) for how in ("auto", "form", "plain")))


def callback(query: bytes = b"", body: bytes = b"", content_type: str = "") -> Callback:
    return Callback(
        source="x",
        endpoint="x",
        method="POST",
        query=query,
        body=body,
        content_type=content_type,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_thousand_parameters_are_read() -> None:
    assert len(wire.read(callback(b"&".join(b"a%d=1" % number for number in range(1000)))).raw) == 1000


@pytest.mark.parametrize(
    ("query", "body", "content_type"),
    [
        (b"a=1&" * 1000 + b"a=1", b"", ""),
        (b"", b"&" * 1000, "application/x-www-form-urlencoded"),
        (b"a=1&" * 600, b"b=1&" * 600, "application/x-www-form-urlencoded"),
        (b"", PART * 1002 + b"--x--", "multipart/form-data; boundary=x"),
    ],
    ids=["query", "form", "both together", "multipart"],
)
def test_more_than_a_thousand_parameters_are_not_read(query: bytes, body: bytes, content_type: str) -> None:
    with pytest.raises(Unreadable, match="over 1,000 parameters"):
        wire.read(callback(query, body, content_type))


def test_nesting_is_read_to_a_limit_that_can_be_written_again() -> None:
    deepest = wire.read(callback(body=nested(wire.DEEPEST)))
    assert json.dumps(deepest.raw)
    with pytest.raises(Unreadable, match="nested over 64 levels"):
        wire.read(callback(body=nested(wire.DEEPEST + 1)))


def test_nesting_beyond_the_interpreters_own_limit_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="nested"):
        wire.read(callback(body=b"[" * 60_000))


def test_an_integer_of_any_length_is_read() -> None:
    assert wire.read(callback(body=b'{"a": ' + b"9" * 50_000 + b"}")).text("A") == "9" * 50_000


def test_a_boundary_inside_a_line_separates_nothing() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\none --x\r\n--xyz\r\n--x--\r\n'
    assert wire.read(callback(body=body, content_type="multipart/form-data; boundary=x")).raw == {
        "a": "one --x\r\n--xyz"
    }


def test_a_part_without_a_name_is_left_out() -> None:
    body = b'--x\r\nContent-Disposition: form-data; filename="name"\r\n\r\n1\r\n--x\r\n\r\n--x--\r\n'
    assert wire.read(callback(body=body, content_type="multipart/form-data; boundary=x")).raw == {}


COARSE = ["", "0", "0000000000", "2025-02-20", "2025-02-20 11:42", "202502201142"]
WRONG = ["20250220256000", "9" * 14, "٢٠٢٥٠٢٢٠١١٤٢٠٠", "x" * 99]


@pytest.mark.parametrize("text", COARSE + WRONG)
def test_what_names_no_second_is_no_time(text: str) -> None:
    assert times.read(text, AMSTERDAM) == (None, None)


def test_a_time_for_identities_does_not_depend_on_the_zone() -> None:
    there, here = (times.read("20250701120000", zone) for zone in (AMSTERDAM, ZoneInfo("America/New_York")))
    assert there.as_utc == here.as_utc == datetime(2025, 7, 1, 12, tzinfo=UTC)
    assert there.moment != here.moment


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(),
    st.sampled_from(["20250220114200", "1+1%E9", "id:1 stat:x", "13105551212", "\ud800", "\0", "outbound"]),
)
NAMES = (
    "ID RECIPIENT STATUS REFERENCE MSISDN PARM TIMESTAMP From To Message MediaURLs RefId DeliveryReceipt data payload"
)
NAMES_3CX = "id from to phone_number status direction event_type occurred_at text token"
names = st.sampled_from([*NAMES.split(), *NAMES_3CX.split(), "\0", "\udfff"])
documents = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6), max_leaves=12
)
envelopes = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"payload": st.dictionaries(names, documents, max_size=6)}, optional={"id": values})}
)
pairs = st.lists(st.tuples(names.map(lambda name: name.encode("utf-8", "replace")), st.binary(max_size=20)), max_size=8)
forms = pairs.map(lambda found: b"&".join(b"=".join(pair) for pair in found))
content_types = st.sampled_from(
    ["", "application/json", "multipart/form-data; boundary=x", "text/plain; charset=\ud800"]
)


def read_by_all(made: Callback) -> None:
    """Every provider reads it or says that it cannot; what it read can be written as JSON, stored and read again."""
    for reader in READERS:
        try:
            events = reader.parse(made)
        except Unreadable:
            continue
        for event in events:
            told: dict[str, Any] = json.loads(event.to_json(), parse_constant=pytest.fail)
            assert "\0" not in json.dumps(told, ensure_ascii=False).encode().decode()
            assert [value for value in event.identity.values if not isinstance(value, str)] == []
            assert "".join(event.identity.values).encode() is not None
            assert reader.home(made, event)


fast = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@fast
@given(query=st.binary(max_size=200), body=st.binary(max_size=400), content_type=content_types)
def test_no_bytes_raise_anything_but_unreadable(query: bytes, body: bytes, content_type: str) -> None:
    read_by_all(callback(query, body, content_type))


@fast
@given(query=forms, body=forms)
def test_no_parameters_raise_anything_but_unreadable(query: bytes, body: bytes) -> None:
    read_by_all(callback(query, body))


@fast
@given(document=st.dictionaries(names, documents, max_size=8) | envelopes, cut=st.integers(0, 30))
def test_no_json_raises_anything_but_unreadable(document: dict[str, Any], cut: int) -> None:
    written = json.dumps(document).encode()
    read_by_all(callback(body=written if cut else written[:-1]))
