"""Phone numbers: how they are written in events, compared and masked. Nothing is refused for looking odd."""

import re

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
