"""The commands that look: events and stats, and trace from its own module."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver import numbers
from receiver.cli import opening, options, records, selecting, show
from receiver.cli.trace import trace
from receiver.events import DeliveryReport, Event, InboundMessage, Notice
from receiver.store.base import Store
from receiver.store.views import HandlerStats, Selector, SourceStats, Stats, StoredEvent

if TYPE_CHECKING:
    from receiver.config import Settings

__all__ = ["events", "stats", "trace"]

POLL = 0.5  # seconds between two looks of `--follow`
FOLLOWED = 50

Print = Callable[[Event], None]


@options.command(
    "receiver events                            the newest 50",
    "receiver events --follow --kind mo         inbound messages as they come",
    "receiver events --since yesterday --status failed --csv > failed.csv",
    "receiver events --limit 0 --json | jq -r .data.reference",
)
@selecting.filtered
@selecting.limit(FOLLOWED, "The newest so many; 0: all.")
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--mask", is_flag=True, help="Hide numbers and texts.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets, with a line of names first.")
@options.as_json
@options.config
def events(
    config: Path | None, as_json: bool, as_csv: bool, mask: bool, follow: bool, limit: int, **filters: Any
) -> None:
    """Print stored events, the oldest first. Times are local; with --json they are UTC."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if follow and filters["until"]:
        raise click.UsageError("--follow has no end; leave --until out")
    loaded = opening.settings(config)
    selector, printed = Selector(**filters), _printer(as_json=as_json, as_csv=as_csv, mask=mask)
    try:
        opening.run(loaded, lambda store: _events(store, selector, limit, printed, loaded if follow else None))
    except KeyboardInterrupt:
        if not follow:
            raise


@options.command("receiver stats", "receiver stats --json | jq 'select(.handler == \"crm\")'")
@options.as_json
@options.config
def stats(config: Path | None, as_json: bool) -> int:
    """Print the counters of handlers and sources.

    Of each handler: received = done + filtered + cancelled + pending + running + dead, at any time.
    """
    loaded = opening.settings(config)
    found = opening.run(loaded, lambda store: store.stats(opening.now()))
    sources = _with_silent(found, loaded)
    if as_json:
        for one in found.handlers:
            show.json_line(records.handler(one))
        for source in sources:
            show.json_line(records.source(source))
    else:
        _print_handlers(found.handlers)
        _print_sources(sources, found)
    return 0 if all(map(_adds_up, found.handlers)) else 1


async def _events(store: Store, selector: Selector, limit: int, printed: Print, followed_by: "Settings | None") -> None:
    end = await store.end()
    last: StoredEvent | None = None
    async for last in store.events(selector, limit=limit, newest=bool(limit)):
        printed(last.event)
    if followed_by is None:
        if last is None:
            show.say("No such event." if selector != Selector() else "No event is stored yet.")
        return
    if last is None:
        show.say(_waiting(await store.stats(opening.now()), followed_by))
    async for stored in _following(store, selector, last.cursor if last else end):
        printed(stored.event)


async def _following(store: Store, selector: Selector, after: Any) -> AsyncIterator[StoredEvent]:
    """What is stored behind a cursor, for ever; tells when requests are refused meanwhile."""
    refused = {one.source: one.refused for one in (await store.stats(opening.now())).sources}
    while True:
        end, last = await store.end(), None
        async for last in store.events(selector, after=after):
            yield last
        after = last.cursor if last else end  # what was looked at in vain is not looked at again
        for one in (await store.stats(opening.now())).sources:
            if new := one.refused - refused.get(one.source, 0):
                requests = show.count(new, "request")
                show.say(f"refused: {requests} to {one.source}, without a right secret or address; see receiver urls")
            refused[one.source] = one.refused
        await asyncio.sleep(POLL)


def _waiting(found: Stats, loaded: "Settings") -> str:
    """What `--follow` says when there is nothing yet."""
    now = opening.now()
    called = {one.source: one.last_at for one in found.sources if one.last_at}
    said = [
        f"{name} last called {show.ago(called[name], now)}" if name in called else f"{name} has not called yet"
        for name in loaded.sources
    ]
    example = next(iter(loaded.sources), "spryng")
    return f"Waiting. {'; '.join(said)}. Try:  receiver simulate {example} --count 1"


def _printer(*, as_json: bool, as_csv: bool, mask: bool) -> Print:
    if as_json and not mask:
        return lambda event: show.json_line(event.to_json())
    if as_json:
        return lambda event: show.json_line(records.envelope(event, mask=mask))
    if as_csv:
        show.line(_csv(records.COLUMNS))
        return lambda event: show.line(_csv(records.cells(event, mask=mask)))
    return lambda event: show.line(human(event, mask=mask))


def _csv(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def human(event: Event, *, mask: bool = False) -> str:
    """An event in one line for people: when, what, where from, what happened to whom."""
    about = event.about if isinstance(event, Notice) else event.source
    words = "   ".join(filter(None, [*_words(event, mask=mask), "simulated" if event.simulated else ""]))
    return f"{show.clock(event.received_at, opening.now())}  {event.kind:<3}  {show.safe(about):<7}  {words}"


def _words(event: Event, *, mask: bool) -> list[str]:
    def number(given: str | None) -> str:
        return show.safe(numbers.mask(given) if mask else given or "–")

    if isinstance(event, DeliveryReport):
        reason = f"({event.reason})" if event.reason else ""
        return [
            show.paint(f"{event.status:<9}"),
            number(event.recipient),
            show.safe(event.reference or event.message_id or ""),
            reason,
            show.took(event),
            f"network {show.safe(event.mccmnc)}" if event.mccmnc else "",
        ]
    if isinstance(event, InboundMessage):
        text = show.hidden(event.text) if mask else show.safe(event.text)
        media = f"{len(event.media)} media" if event.media else ""
        return [
            f"{number(event.originator)} → {number(event.recipient)}",
            text,
            media,
            "opt-out" if event.opt_out else "",
        ]
    assert isinstance(event, Notice)
    said = numbers.mask_in(event.text) if mask else event.text
    return [show.paint(event.level if event.state == "open" else "over"), show.safe(said)]


def _with_silent(found: Stats, loaded: "Settings") -> list[SourceStats]:
    """The counters of all sources, also of those that never called."""
    known = {one.source: one for one in found.sources}
    return [known.pop(name, SourceStats(name)) for name in loaded.sources] + list(known.values())


def _adds_up(one: HandlerStats) -> bool:
    return one.received == one.done + one.filtered + one.cancelled + one.pending + one.running + one.dead


def _print_handlers(handlers: Sequence[HandlerStats]) -> None:
    now = opening.now()
    parts = ("received", "done", "filtered", "cancelled", "pending", "running", "dead")
    rows = [
        (
            one.handler,
            show.state(one.state),
            *(getattr(one, part) for part in parts),
            show.age(one.oldest_pending_at, now),
        )
        for one in handlers
    ]
    if not rows:
        show.say("No handler has a place in the log yet.")
        return
    show.table(("handler", "state", *parts, "oldest"), rows)
    show.line()
    for one in handlers:
        sum_of = " + ".join(f"{show.grouped(getattr(one, part))} {part}" for part in parts[1:])
        proof = f"{show.paint('✓')} adds up" if _adds_up(one) else f"{show.paint('✗')} does not add up"
        show.line(f"owed to {one.handler}: {show.grouped(one.received)} = {sum_of}   {proof}")
    show.line()


def _print_sources(sources: Sequence[SourceStats], found: Stats) -> None:
    now = opening.now()
    parts = ("stored", "duplicates", "quarantined", "refused", "simulated")
    show.table(
        ("source", *parts, "last callback"),
        [(one.source, *(getattr(one, part) for part in parts), show.ago(one.last_at, now)) for one in sources],
    )
    if kept := sum(found.quarantine.values()):
        show.say(f"{show.count(kept, 'callback')} in quarantine could not be read: receiver quarantine")
    if any(one.refused for one in sources):
        show.say("refused: no right secret or address; where that is your provider, compare its URLs: receiver urls")
