"""Decoding that providers share: the fields of a callback from its query, form, multipart or JSON body."""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from string import hexdigits
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from receiver.callback import Callback
from receiver.errors import Unreadable

MOST_PARAMETERS = 1000
DEEPEST = 64
"""Levels of nesting in a JSON body; what goes deeper cannot be written as JSON again."""
MASK = "***"
MASKED = frozenset({"PASS", "PASSWORD", "TOKEN", "KEY", "SECRET"})

Pairs = list[tuple[str, str]]


@dataclass(slots=True)
class Fields:
    """What a callback says. Names in `values` are upper case; what is empty or null is not there."""

    values: Mapping[str, Any]
    raw: dict[str, Any]
    """As it came, for the event: NUL and lone surrogates replaced, secrets masked."""
    notes: list[str]
    json: bool
    """Whether the body was JSON; then values may be numbers, lists and objects."""

    def text(self, name: str) -> str:
        """A field as a trimmed string; "" where it is absent or no scalar."""
        value = self.values.get(name, "")
        return value.strip() if isinstance(value, str) else scalar(value)

    def texts(self, *names: str) -> list[str]:
        """Several fields as `text` gives them, in one go: reports come by the thousand."""
        get = self.values.get
        try:
            return [get(name, "").strip() for name in names]
        except AttributeError:  # of JSON, where a value need not be a string
            return [scalar(get(name)) for name in names]

    def exact(self, name: str) -> str:
        """A field as a string with its white space; "" where it is absent or no scalar."""
        value = self.values.get(name, "")
        return value if isinstance(value, str) else exact(value)


def read(callback: Callback) -> Fields:
    """The fields of the query and the body together; where both hold one, the body's counts. Raises Unreadable."""
    notes: list[str] = []
    query, body = callback.query, callback.body
    if not body or body.isspace():
        return _form(query, notes)
    content_type = callback.content_type.lower()
    pairs = split(query, notes) if query else []
    if _starts_as_json(body) or "json" in content_type:
        return _merge(pairs, json_object(body, notes), notes)
    if content_type.startswith("multipart/"):
        pairs += multipart(body, callback.content_type, notes)
    elif query:
        pairs += split(body.strip(b"\r\n"), notes)
    else:
        return _form(body.strip(b"\r\n"), notes)
    if len(pairs) > MOST_PARAMETERS:
        raise Unreadable(f"over {MOST_PARAMETERS:,} parameters")
    return _collect(pairs, _grouped(pairs), notes)


def exact(value: object) -> str:
    """A string or number as a string with its white space; "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def scalar(value: object) -> str:
    """A string or number as a trimmed string; "" for anything else."""
    return exact(value).strip()


# queries and forms


def _form(encoded: bytes, notes: list[str]) -> Fields:
    """The fields of a query or a form that comes alone."""
    raw = _plain_form(encoded, notes)
    if raw is None:
        pairs = split(encoded, notes)
        return _collect(pairs, _grouped(pairs), notes)
    if "".join(raw).isupper() and all(raw.values()) and MASKED.isdisjoint(raw):
        return Fields(raw, raw, notes, json=False)
    return _collect(raw.items(), raw, notes)


def _plain_form(encoded: bytes, notes: list[str]) -> dict[str, str] | None:
    """The parameters where each has one `=` and comes once, as nearly always; None for any others.

    With quotation marks about every `&` and `=` they are a JSON object, and that is taken apart in one go.
    """
    text = encoded.decode("latin-1")
    separators = text.count("&")
    if separators >= MOST_PARAMETERS or not text.isascii() or '"' in text or "\\" in text:
        return None
    quoted = text.replace("+", " ").replace("&", '","').replace("=", '":"')
    try:
        found = _PLAIN.decode(f'{{"{quoted}"}}')
    except msgspec.DecodeError:
        return None
    if "%" in text:
        for name, value in found.items():
            if "%" in name:
                return None
            if "%" in value:
                found[name] = unquoted(value, notes)
    return found if len(found) > separators else None


def split(encoded: bytes, notes: list[str]) -> Pairs:
    """The parameters of a query or a form, separated by `&` alone; each value UTF-8, else cp1252 with a note."""
    if encoded.count(b"&") >= MOST_PARAMETERS:
        raise Unreadable(f"over {MOST_PARAMETERS:,} parameters")
    text = encoded.replace(b"+", b" ").decode("latin-1")
    parts = [part.partition("=") for part in text.split("&") if part]
    return [(unquoted(name, notes), unquoted(value, notes)) for name, _, value in parts]


_ASCII = {high + low: chr(int(high + low, 16)) for high in "01234567" for low in hexdigits if high + low != "00"}


def unquoted(text: str, notes: list[str], encoding: str = "latin-1") -> str:
    """A text with every `%XX` decoded; `encoding` is how it became one, latin-1: a character a byte."""
    if text.isascii() and "\0" not in text:
        head, *escapes = text.split("%")
        try:
            return head + "".join([_ASCII[escape[:2]] + escape[2:] for escape in escapes])
        except KeyError:  # beyond ASCII, NUL, or a lone `%`
            pass
    return text_of(unquote_to_bytes(text.encode(encoding)), notes)


def text_of(encoded: bytes, notes: list[str]) -> str:
    """Bytes as text: UTF-8, else cp1252 with the note `decoded_cp1252`; NUL becomes U+FFFD."""
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        text = encoded.decode("cp1252", "replace")
        note(notes, "decoded_cp1252")
    return text.replace("\0", "\ufffd")


def note(notes: list[str], word: str) -> None:
    """Add a note once."""
    if word not in notes:
        notes.append(word)


def _collect(pairs: Collection[tuple[str, str]], raw: dict[str, Any], notes: list[str]) -> Fields:
    """Fields from parameters; of repeated ones the last counts, as in PHP."""
    values = {name.upper(): value for name, value in pairs}
    if len(values) < len(pairs):
        note(notes, "repeated_parameter")
    if not MASKED.isdisjoint(values):
        _mask(raw)
    if not all(values.values()):
        values = {name: value for name, value in values.items() if value}
    return Fields(values, raw, notes, json=False)


def _mask(fields: dict[str, Any]) -> None:
    for name in fields:
        if name.upper() in MASKED:
            fields[name] = MASK


def _grouped(pairs: Pairs) -> dict[str, Any]:
    """Parameters by name, a list where one came again."""
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return {name: found if len(found) > 1 else found[0] for name, found in grouped.items()}


# multipart

_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]{1,200})\"|([^\s;,\"]{1,200}))", re.IGNORECASE)
_NAME = re.compile(rb"[;\s]name=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;]+))", re.IGNORECASE)
_CHARSET = re.compile(rb"charset=\"?([\w.:-]+)", re.IGNORECASE)
# What a part may declare besides UTF-8; Latin-1 means cp1252, as in browsers (WHATWG Encoding Standard).
_CHARSETS = {"iso-8859-1": "cp1252", "latin1": "cp1252", "windows-1252": "cp1252", "iso-8859-15": "iso-8859-15"}


def multipart(body: bytes, content_type: str, notes: list[str]) -> Pairs:
    """The parameters of a multipart/form-data body. Raises Unreadable where it has no boundary or no end."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise Unreadable("the multipart body has no boundary")
    boundary = re.escape((match[1] or match[2]).encode("latin-1", "replace"))
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + boundary + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    pairs: Pairs = []
    begin = 0
    for mark in delimiter.finditer(body):
        if begin and (pair := _part(body[begin : mark.start()], notes)):
            pairs.append(pair)
        if mark[1]:
            return pairs
        if len(pairs) > MOST_PARAMETERS:
            raise Unreadable(f"over {MOST_PARAMETERS:,} parameters")
        begin = mark.end()
    raise Unreadable("the multipart body ends before its last boundary")


_HEAD_END = re.compile(rb"\r?\n\r?\n")


def _part(part: bytes, notes: list[str]) -> tuple[str, str] | None:
    """Name and value of one part; None where it has no name."""
    end = _HEAD_END.search(part)
    name = _NAME.search(part, 0, end.start()) if end else None
    if end is None or name is None:
        return None
    value = part[end.end() :]
    charset = _CHARSET.search(part, 0, end.start())
    codec = _CHARSETS.get(charset[1].decode("latin-1").lower()) if charset else None
    text = value.decode(codec, "replace").replace("\0", "\ufffd") if codec else text_of(value, notes)
    return text_of(name[1] if name[1] is not None else name[2], notes), text


# JSON


def _starts_as_json(body: bytes) -> bool:
    return body.startswith(b"{") or body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


_BACKSLASH = ord("\\")  # bytes are looked through for a number ten times as fast as for bytes
_PLAIN: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, str | bool | list[str] | None])


def json_object(body: bytes, notes: list[str]) -> dict[str, Any]:
    """The object of a JSON body, with nothing in it that could not be written again; {} for an empty list.

    An object of texts, as nearly always, is read in one go, by rules that let nothing else through. Raises Unreadable.
    """
    if _BACKSLASH not in body or b"\\u0000" not in body:  # the one way to write NUL, which has to be replaced
        try:
            return _PLAIN.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return lenient(body, notes)


def lenient(body: bytes, notes: list[str]) -> dict[str, Any]:
    """The same for whatever senders take for JSON: raw line feeds, foreign bytes, lone surrogates, huge numbers."""
    try:
        text, clean = body.decode("utf-8-sig"), _without_surrogates
    except UnicodeDecodeError:  # foreign bytes stay in the text as surrogates, until each value is decoded by itself
        text, clean = body.decode("utf-8-sig", "surrogateescape"), partial(_redecoded, notes)
    try:
        cleaned = _cleaned(_JSON.decode(text.strip()), clean)
    except RecursionError:
        raise Unreadable(f"the JSON is nested over {DEEPEST} levels") from None
    except json.JSONDecodeError as fault:
        raise Unreadable(f"the body is no JSON: {fault.msg} (character {fault.pos})") from None
    if cleaned == []:
        return {}
    if not isinstance(cleaned, dict):
        raise Unreadable("the body is no JSON object")
    return cleaned


def _integer(digits: str) -> int | str:
    """Integers up to 64 bits; larger ones as their digits, because consumers of our JSON would round or refuse them."""
    if len(digits) < 19:
        return int(digits)
    return digits if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63 else int(digits)


def _fraction(digits: str) -> float | str:
    """Floats; one beyond their range as its digits, because JSON has no infinity."""
    value = float(digits)
    return value if math.isfinite(value) else digits


# Not strict: raw line feeds inside strings are a common fault of senders. NaN and Infinity are read as words.
_JSON = json.JSONDecoder(strict=False, parse_int=_integer, parse_float=_fraction, parse_constant=str)


def _cleaned(value: Any, clean: Callable[[str], str], depth: int = 1) -> Any:
    """A JSON value with every string cleaned and secrets masked. Raises RecursionError below DEEPEST levels."""
    if isinstance(value, str):
        return clean(value)
    if not isinstance(value, dict | list):
        return value
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, list):
        return [_cleaned(item, clean, depth + 1) for item in value]
    return {
        clean(name): MASK if name.upper() in MASKED else _cleaned(item, clean, depth + 1)
        for name, item in value.items()
    }


_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _without_surrogates(text: str) -> str:
    return text.replace("\0", "\ufffd") if text.isascii() else _SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")


def _redecoded(notes: list[str], text: str) -> str:
    """A string whose foreign bytes are surrogates, decoded as every other value."""
    return text_of(_NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape"), notes)


def _merge(pairs: Pairs, body: dict[str, Any], notes: list[str]) -> Fields:
    """Fields of a JSON body, on top of those of the query."""
    values = {name.upper(): value for name, value in body.items()}
    if len(values) < len(body):
        note(notes, "repeated_parameter")
    if not MASKED.isdisjoint(values):
        _mask(body)
        _mask(values)
    raw = body
    if pairs:
        query = _collect(pairs, _grouped(pairs), notes)
        values, raw = {**query.values, **values}, query.raw | body
    present = {name: value for name, value in values.items() if value is not None and value != ""}
    return Fields(present, raw, notes, json=True)


def flatten(value: Any, name: str) -> list[str]:
    """The strings of a value that may be a scalar, an object with it under a name, or a list of these."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for item in value for text in flatten(item, name)]
    text = scalar(value.get(name) if isinstance(value, dict) else value)
    return [text] if text else []
