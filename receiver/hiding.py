"""What others say about an event, fit for logs and notices: without its numbers and without the words of its text."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from receiver import numbers
from receiver.events import Event, InboundMessage

HIDDEN = "***"
CUT = "…"
"""What an answer ends with that was too long."""
_WORD = re.compile(r"\w{3,}")


def hide(said: str, events: Iterable[Event]) -> str:
    """An answer or an error about these events, with numbers masked and each word hidden that a message of them holds.

    Whoever is given a message may quote it, whole or in part, as JSON or escaped for a URL or a page. Words of fewer
    than three letters stay.
    """
    masked = numbers.mask_in(said)
    words = {word.lower() for event in events for form in _forms(event) for word in _WORD.findall(form)}
    if not words:
        return masked
    cut = masked.endswith(CUT)

    def hidden(found: re.Match[str]) -> str:
        word = found[0].lower()
        begun = cut and found.end() == len(masked) - len(CUT) and any(each.startswith(word) for each in words)
        return HIDDEN if word in words or begun else found[0]

    return _WORD.sub(hidden, masked)


def _forms(event: Event) -> Iterator[str]:
    """The text of a message in the ways in which it is quoted."""
    if isinstance(event, InboundMessage) and event.text:
        text = event.text
        yield from (text, json.dumps(text), quote(text), html.escape(text), repr(text.encode()))
