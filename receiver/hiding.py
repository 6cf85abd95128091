"""What others say about an event, fit for logs and notices: without its numbers and without the words of its text."""

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import quote, quote_plus

from receiver import numbers
from receiver.events import Event, InboundMessage

HIDDEN = "***"
CUT = "…"
"""What an answer ends with that was too long."""
_WORD = re.compile(r"\w{3,}")


def hide(said: str, *events: Event) -> str:
    """An answer or an error about these events, with numbers masked and each word hidden that a message of them holds.

    Words of fewer than three letters stay.
    """
    return hide_words(said, words_of(events, (said,)))


def words_of(events: Iterable[Event], answers: Iterable[str]) -> set[str]:
    """The words of the messages among these events, as they may stand in one of these answers.

    Whoever is given a message may quote it, whole or in part, as JSON or escaped for a URL or a page.
    """
    escapes = _escapes(answers)
    texts = (event.text for event in events if isinstance(event, InboundMessage))
    return {word.lower() for text in texts for form in _forms(text, escapes) for word in _WORD.findall(form)}


def hide_words(said: str, words: Collection[str]) -> str:
    """An answer with numbers masked and these words hidden, also the beginning of one where it was cut off."""
    masked = numbers.mask_in(said)
    if not words:
        return masked
    cut = masked.endswith(CUT)

    def hidden(found: re.Match[str]) -> str:
        word = found[0].lower()
        begun = cut and found.end() == len(masked) - len(CUT) and any(each.startswith(word) for each in words)
        return HIDDEN if word in words or begun else found[0]

    return _WORD.sub(hidden, masked)


def _escapes(answers: Iterable[str]) -> set[str]:
    """The characters among them with which something may be escaped."""
    return {character for answer in answers for character in "\\%&" if character in answer}


def _forms(text: str, escapes: Collection[str]) -> Iterator[str]:
    """A text in the ways in which it is quoted."""
    yield text
    if "\\" in escapes:
        yield json.dumps(text)
        yield repr(text.encode())
    if "%" in escapes:
        yield quote(text)
        yield quote_plus(text)
    if "&" in escapes:
        yield html.escape(text)
