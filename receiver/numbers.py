"""Phone numbers: how they are written in events, compared and masked. Nothing is refused for looking odd."""

import re
from urllib.parse import unquote_to_bytes

MASKED_HEAD, MASKED_TAIL = 3, 2


def digits(number: str) -> str:
    """What numbers are compared by: without separators, `+` or `00`; a name is compared in lower case."""
    if number.isascii():  # as events and most providers write it
        if number.isdecimal():
            return number.removeprefix("00") or number
        if number.startswith("+") and number[1:].isdecimal():
            return number[1:]
    bare = number.strip()
    compact = bare.translate(_SEPARATORS)
    plain = compact.removeprefix("+").removeprefix("00")
    return plain if plain.isascii() and plain.isdigit() else bare.lower()


_SEPARATORS = str.maketrans("", "", " -().\u00a0/")


def explicit(number: str) -> str | None:
    """`+` and digits for a number written with a leading `+` or `00`; None for any other."""
    rest = number[1:] if number.startswith("+") else number[2:] if number.startswith("00") else ""
    return f"+{rest}" if 7 <= len(rest) <= 15 and rest.isascii() and rest.isdigit() else None


def matches(pattern: str, number: str) -> bool:
    """Whether a number is the one meant; a trailing `*` makes the pattern a prefix."""
    if pattern.endswith("*"):
        return digits(number).startswith(digits(pattern[:-1]))
    return digits(number) == digits(pattern)


def mask(number: str | None) -> str:
    """First three and last two characters: `+31*******78`; a short one is hidden whole."""
    if not number:
        return "-"
    hidden = len(number) - MASKED_HEAD - MASKED_TAIL
    if hidden < 1:
        return "*" * len(number)
    return number[:MASKED_HEAD] + "*" * hidden + number[-MASKED_TAIL:]


def mask_in(text: str) -> str:
    """A text with everything masked in it that could be a number: what a library's error says, for instance."""
    return _NUMBER.sub(lambda found: mask(found[0]), text)


_NUMBER = re.compile(r"\+?\d{7,}")


class Written:
    """All ways in which one number may be written in what is kept: `+31 6 1234-5678`, `0031…`, `%2B31…`, `\\u002b31…`.

    What is compared are its digits (`digits`); a name is compared without regard to case.
    """

    def __init__(self, number: str) -> None:
        self.digits = digits(number)
        between = _BETWEEN if self.digits.isdigit() else b""
        self._anywhere = re.compile(between.join(map(_ways, self.digits)), re.IGNORECASE)
        self._alone = re.compile(b"(?<![0-9])(?:00" + between + b")?" + self._anywhere.pattern + b"(?![0-9])", re.I)

    def is_in(self, text: bytes) -> bool:
        """Whether a text or a request names it, whatever encoding it is in. A longer number is another one."""
        if not self._anywhere.search(text):
            return False
        if self._alone.search(text):
            return True
        plain = unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text else text
        plain = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), plain) if b"\\u" in plain else plain
        return plain is not text and self._alone.search(plain) is not None

    def in_file(self, raw: bytes) -> list[tuple[int, int]]:
        """Where it stands in the bytes of a file, in which values stand one behind the other: from, to."""
        return [found.span() for found in self._anywhere.finditer(raw)]

    def blotted(self, text: str) -> str:
        """A text with a star for each character of the number."""
        return self._anywhere.sub(lambda found: b"*" * len(found[0]), text.encode()).decode()


# What may stand between two digits: separators as they are, percent-encoded, as JSON, or the zeros of UTF-16.
_BETWEEN = rb"(?:[ \-+().\x00/]|\xc2?\xa0|%(?:20|28|29|2b|2d|2e|2f|c2%a0)|\\u00(?:20|28|29|2b|2d|2e|2f|a0)){0,6}"
_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")


def _ways(character: str) -> bytes:
    """A character as it is, percent-encoded, or escaped in JSON."""
    raw = character.encode()
    quoted = b"".join(b"%%%02x" % byte for byte in raw)
    escaped = b"\\\\u%04x" % ord(character)
    return b"(?:" + re.escape(raw) + b"|" + quoted + b"|" + escaped + b")"
