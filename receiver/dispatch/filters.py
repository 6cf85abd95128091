"""Which events a handler is given (pure): a list is "any of", several filters are "all of"."""

from collections.abc import Iterable

from receiver import numbers
from receiver.events import DeliveryReport, Event, InboundMessage, Notice
from receiver.handler import HandlerSettings


class Sieve:
    """The filters of one handler during one claim; counts what it is shown and what it lets through."""

    def __init__(self, settings: HandlerSettings, handler: str) -> None:
        self.seen = self.passed = 0
        self._settings, self._handler = settings, handler

    def __call__(self, event: Event) -> bool:
        """Whether it passes."""
        passes = matches(self._settings, event, handler=self._handler)
        self.seen += 1
        self.passed += passes
        return passes


def matches(settings: HandlerSettings, event: Event, *, handler: str) -> bool:
    """Whether an event is for the handler of this name. An event that lacks a filter's field is not."""
    if event.kind not in settings.kinds:
        return False
    if isinstance(event, Notice):
        return event.about != handler
    return (
        (settings.simulated or not event.simulated)
        and (not settings.sources or event.source in settings.sources)
        and (not settings.statuses or _status(event) in settings.statuses)
        and (not settings.originators or _any_number(settings.originators, [event.originator]))
        and (not settings.recipients or _any_number(settings.recipients, _recipients(event)))
        and (not settings.keywords or _keyword(event) in {word.casefold() for word in settings.keywords})
        and (settings.opt_out is None or _opt_out(event) is settings.opt_out)
    )


def _status(event: Event) -> str | None:
    return event.status.value if isinstance(event, DeliveryReport) else None


def _recipients(event: Event) -> list[str | None]:
    return [event.recipient, *event.recipients] if isinstance(event, InboundMessage) else [event.recipient]


def _any_number(patterns: Iterable[str], found: Iterable[str | None]) -> bool:
    present = [number for number in found if number is not None]
    return any(numbers.matches(pattern, number) for pattern in patterns for number in present)


def _keyword(event: Event) -> str | None:
    """The provider's keyword, else the first word, without regard to case."""
    if not isinstance(event, InboundMessage):
        return None
    word = event.keyword or next(iter(event.text.split(maxsplit=1)), "")
    return word.casefold() or None


def _opt_out(event: Event) -> bool | None:
    return event.opt_out if isinstance(event, InboundMessage) else None
