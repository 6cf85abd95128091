"""What of the log is a person's: whose an event is, and stars in the place of a number in our own words. No I/O."""

from typing import Any

from pydantic_core import from_json, to_json

from receiver import numbers

THEIRS, OUR_NOTICE, OTHERS, NOBODYS = "theirs", "notice", "others", ""


def whose(written: numbers.Written, kind: str, originator: str | None, recipient: str | None, data: str) -> str:
    """Whose an event is: the person's, a notice of ours that names them, other people's that do, or none of these."""
    if written.digits in (originator, recipient):
        return THEIRS
    if not written.is_in(data.encode()):
        return NOBODYS
    if kind == "notice":
        return OUR_NOTICE
    return THEIRS if _is_among(written, data) else OTHERS


def _is_among(written: numbers.Written, data: str) -> bool:
    """Whether the number is one of several recipients."""
    return any(numbers.digits(one) == written.digits for one in from_json(data).get("recipients") or ())


def starred(told: str, written: numbers.Written, *, json: bool) -> str:
    """A text, or the texts in JSON, with stars in the place of the number."""
    return to_json(_within(from_json(told), written)).decode() if json else written.blotted(told)


def _within(value: Any, written: numbers.Written) -> Any:
    """The same in all texts of a JSON value."""
    if isinstance(value, str):
        return written.blotted(value)
    if isinstance(value, list):
        return [_within(one, written) for one in value]
    if isinstance(value, dict):
        return {written.blotted(name): _within(one, written) for name, one in value.items()}
    return value
