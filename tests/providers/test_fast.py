"""What is read in one go is read as with care: the same fields, notes and faults for every form and every JSON body."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from receiver.callback import Callback
from receiver.errors import Unreadable
from receiver.providers import receipt, wire

often = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def callback(query: bytes = b"", body: bytes = b"") -> Callback:
    return Callback("x", "x", "POST", datetime(2026, 1, 1, tzinfo=UTC), query, "", body)


def read_with_care(made: Callback) -> wire.Fields:
    """The same reading without what is only there to be fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "json_object", wire.lenient)
        patch.setattr(wire, "_plain_form", lambda encoded, notes: None)
        return wire.read(made)


def outcome(read: Callable[[Callback], wire.Fields], made: Callback) -> object:
    """What was read, to the order of the names; or why it could not be."""
    try:
        fields = read(made)
    except Unreadable as fault:
        return str(fault)
    return fields, list(fields.values), list(fields.raw)


pieces = ["a", "=", "&", "%", "%41", "%c3%a9", "%E9", "%00", "%zz", "+", '"', "\\", "\\u0041", "\t", "\0", "\x7f", "é"]
written = st.lists(st.sampled_from(pieces), max_size=3).map("".join) | st.text("1+%4aE9", max_size=4)
named = st.sampled_from(["a", "a", "b", "B", "ID", "Token", "é", "%41", '"', ""])
between = st.sampled_from(["=", "=", "=", "=", "=", "=", "", "=="])
forms = st.lists(st.tuples(named, between, written).map("".join), max_size=4).map(
    lambda parameters: "&".join(parameters).encode("latin-1")
)


@often
@given(encoded=forms, after=forms)
@example(encoded=b'a=","b":"', after=b"a=1&a=2")
@example(encoded=b"a=\\u0041", after=b"a=1&A=2&b=")
@example(encoded=b"%41=1&A=2&Key=3", after=b"a=%E9&a%20=+%zz")
def test_a_form_is_read_as_with_care(encoded: bytes, after: bytes) -> None:
    for made in (callback(encoded), callback(b"", encoded), callback(encoded, after)):
        assert outcome(wire.read, made) == outcome(read_with_care, made)


def spelled(text: str) -> st.SearchStrategy[bytes]:
    """A text in JSON as different senders write it, faulty ones too."""
    plain = json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
    foreign = b'"' + text.encode("latin-1", "replace").replace(b'"', b"") + b'"'
    return st.sampled_from(
        [json.dumps(text).encode(), plain, plain.replace(b"/", b"\\/"), plain.replace(b"\\n", b"\n"), foreign]
    )


texts = st.text(st.sampled_from('aé€😀/\n\t\\"\0\x7f\x1f\ud800\udc00%+0u'), max_size=5).flatmap(spelled)
names = st.sampled_from(["From", "FROM", "To", "Key", "token", "ſecret", "\0", "a/b", "é"]).flatmap(spelled)
words = st.sampled_from([b"true", b"false", b"null", b"NaN", b"-Infinity", b"1", b"-0", b"1.0", b"1e400", b"9" * 30])
broken = st.sampled_from([b"01", b"tru", b"'a'", b'"\\x"', b'"\\ud800\\u0041"', b'"\\u00"', b'"\\u0000"', b'"a', b""])
scalars = texts | words | broken
values = st.one_of(
    scalars,
    st.lists(texts, max_size=3).map(lambda items: b"[" + b", ".join(items) + b"]"),
    st.lists(scalars, max_size=2).map(lambda items: b"[" + b",".join(items) + b"]"),
    texts.map(lambda text: b'{"phone_number":' + text + b',"Secret":' + text + b"}"),
)
members = st.lists(st.tuples(names, texts) | st.tuples(names, values), max_size=4).map(
    lambda found: b"{" + b",".join(b":".join(member) for member in found) + b"}"
)
before = st.sampled_from([b"", b"", b"", b" \n", b"\xef\xbb\xbf", b"\x0b", b"\xc2\xa0"])
after = st.sampled_from([b"", b"", b"", b"\r\n", b"\0", b"\x0c", b",", b"{}", b"\xff"])


@often
@given(body=st.tuples(before, members, after).map(b"".join), query=st.sampled_from([b"", b"From=1&x=&key=2"]))
def test_json_is_read_as_with_care(body: bytes, query: bytes) -> None:
    made = callback(query, body)
    assert outcome(wire.read, made) == outcome(read_with_care, made)


parts = [
    st.sampled_from(["id:7", "ID:text:1", "ıd:1"]),
    st.sampled_from(["sub:1", "ſub:1", "Sub:err:5"]),
    st.sampled_from(["dlvrd:1", "dlvrd:é"]),
    st.sampled_from(["submit date:1601010100", "ſubmit date:1601010100", "Submit Date:" + "١" * 10]),
    st.sampled_from(["done date:1601010101", "done date:20160101010100", "done date: 1601010101"]),
    st.sampled_from(["stat:DELIVRD", "ſtat:A", "STAT:é"]),
    st.sampled_from(["err:1", "err:", "err:stat:X"]),
    st.sampled_from(["", "text:", "text:id:2 stat:X\nerr:5", "Text: é", "text", "id:2"]),
]
gaps = st.sampled_from([" ", " ", " ", "  ", "\n", "\xa0"])


@often
@given(told=st.tuples(*parts), spaces=st.lists(gaps, min_size=8, max_size=8))
def test_a_whole_receipt_is_read_field_by_field(told: tuple[str, ...], spaces: list[str]) -> None:
    text = "".join(part + gap for part, gap in zip(told, spaces, strict=True))
    assert receipt.whole(text) in (None, receipt.read(text))


def test_what_providers_send_is_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_care(*given: object) -> None:
        pytest.fail("it was read with care")

    monkeypatch.setattr(wire, "lenient", with_care)
    monkeypatch.setattr(wire, "split", with_care)
    report, form = b"ID=a&RECIPIENT=31612345678&STATUS=10", b"MSISDN=31612345678&KEYWORD=&PARM=Caf%C3%A9+%26+more"
    body = b'{"From":"1310","To":["1"],"Message":"a\\/b \xc3\xa9 \\u20ac","DeliveryReceipt":false,"MediaURLs":null}'
    assert wire.read(callback(report)).text("RECIPIENT") == "31612345678"
    assert wire.read(callback(b"", form)).raw["PARM"] == "Café & more"
    assert wire.read(callback(b"", body)).text("MESSAGE") == "a/b é €"
