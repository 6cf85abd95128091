"""The command `trace`: finds what is meant, and prints verdict and life, records, requests, or what is known."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from receiver import numbers
from receiver.cli import opening, options, records, selecting, show
from receiver.cli.verdict import Message, Teller, group, messages
from receiver.events import DeliveryReport
from receiver.store.base import Store
from receiver.store.views import EventTrace, Selector, StoredEvent

MOST_MESSAGES = 50


class Choices(NamedTuple):
    """The options of `trace`."""

    since: datetime | None
    limit: int
    raw: bool
    mask: bool
    as_json: bool


@options.command(
    "receiver trace order-42                    by your own reference",
    "receiver trace 0612345678 --since yesterday",
    "receiver trace 91646b0b-b425-4e98-bb53-8c545873eec0 --raw",
)
@click.argument("what")
@selecting.since("Received")
@selecting.limit(MOST_MESSAGES, "Of several messages the newest so many; 0: all.")
@click.option("--raw", is_flag=True, help="What the provider sent, byte by byte.")
@click.option("--mask", is_flag=True, help="Hide numbers and texts.")
@options.as_json
@options.config
def trace(config: Path | None, what: str, **choices: Any) -> int:
    """Tell what became of a message. WHAT is an event id, a message id, a reference, or a number as people write it.

    The first line is the verdict, by the report that counts; then comes the whole life of the message. Of several
    messages there is one line each, the newest last. Exit status 1 where nothing is known.
    """
    chosen = Choices(**choices)
    if chosen.raw and chosen.mask:
        raise click.UsageError("--raw shows the bytes as they are; leave --mask out")
    loaded = opening.settings(config)
    return opening.run(loaded, lambda store: Tracing(store, what.strip(), chosen).run())


class Tracing:
    """One question to the store."""

    def __init__(self, store: Store, what: str, choices: Choices) -> None:
        self._store, self._what, self._choices, self._now = store, what, choices, opening.now()

    async def run(self) -> int:
        """Print the answer; the exit status."""
        since = self._choices.since
        found = await self._store.find(self._what)
        recent = [stored for stored in found if since is None or stored.event.received_at >= since]
        if not recent:
            await self._tell_what_is_known(older=len(found))
            return 1
        known = messages(recent)
        if len(known) == 1:
            known = [Message(await self._whole(known[0]))]
        shown = known[-self._choices.limit :]
        if self._choices.as_json or self._choices.raw:
            await self._print_records(shown)
        elif len(known) == 1:
            await self._print_life(known[0])
        else:
            await self._print_verdicts(shown, left_out=len(known) - len(shown))
        return 0

    async def _whole(self, message: Message) -> list[StoredEvent]:
        """All reports about a message of which some were found, as by the id of one of its events."""
        event = message.events[0].event
        name = event.message_id or event.reference
        if not isinstance(event, DeliveryReport) or not name:
            return message.events
        return [stored for stored in await self._store.find(name) if group(stored.event) == group(event)]

    async def _print_records(self, shown: list[Message]) -> None:
        for message in shown:
            for stored in message.events:
                known = await self._store.trace(stored)
                if self._choices.as_json:
                    current = stored is message.current
                    show.json_line(records.traced(known, current=current, mask=self._choices.mask))
                else:
                    _print_requests(known)

    async def _print_life(self, message: Message) -> None:
        teller = await self._teller()
        known = [await self._store.trace(stored) for stored in message.events]
        current = known[message.events.index(message.current)]
        show.line(show.bold(teller.verdict(current)))
        show.line()
        steps = teller.life(known)
        clocks = [show.clock(step.at, self._now) for step in steps]
        for clock, step in zip(clocks, steps, strict=True):
            show.line(
                f"{clock:>{max(map(len, clocks))}}  {step.word:<{max(len(step.word) for step in steps)}}  {step.text}"
            )
        zone = self._now.astimezone().tzname()
        show.say(f"Times are local ({zone}). --json for all fields, --raw for what the provider sent.")

    async def _print_verdicts(self, shown: list[Message], *, left_out: int) -> None:
        teller = await self._teller()
        if left_out:
            show.say(f"{show.count(left_out, 'earlier message')} left out; --limit 0 shows all.")
        used = Counter(name for message in shown for name in message.names)
        for message in shown:
            known = await self._store.trace(message.current)
            name = next(name for name in message.names if used[name] == 1)
            show.line(f"{teller.verdict(known)}   {show.safe(name)}")
        show.say(f"{show.count(len(shown), 'message')}, the newest last. The life of one:  receiver trace NAME")

    async def _teller(self) -> Teller:
        return Teller(self._now, mask=self._choices.mask, handlers=(await self._store.stats(self._now)).handlers)

    async def _tell_what_is_known(self, *, older: int) -> None:
        """A negative answer that says what it is worth."""
        tell = show.say if self._choices.as_json or self._choices.raw else show.line
        what = show.safe(numbers.mask_in(self._what) if self._choices.mask else self._what)
        if older:
            tell(f'Nothing is known of "{what}" since then; {show.count(older, "older event")} would match.')
            return
        tell(
            f'Nothing is known of "{what}": no report and no inbound message carries it'
            " as event id, message id, reference or number."
        )
        if ids := await self._in_quarantine():
            tell(f"It stands in what could not be read:  receiver quarantine show {' '.join(ids)}")
        tell(f"The receiver only knows what providers report: {await self._sources()}.")
        tell("A report can take 48 h when a phone is off. Whether the message was sent at all, the provider knows.")

    async def _sources(self) -> str:
        stats = await self._store.stats(self._now)
        called = [
            f"{one.source} last called {show.ago(one.last_at, self._now)}" for one in stats.sources if one.last_at
        ]
        oldest = [stored async for stored in self._store.events(Selector(), limit=1)]
        kept = sum(stats.quarantine.values())
        said = [*called] or ["no source has called yet"]
        if oldest:
            said.append(f"events are kept since {oldest[0].event.received_at.astimezone():%Y-%m-%d}")
        said.append(f"{show.count(kept, 'callback')} in quarantine" if kept else "quarantine is empty")
        return "; ".join(said)

    async def _in_quarantine(self) -> list[str]:
        """Ids of unreadable callbacks whose bytes hold what is looked for."""
        wanted = {self._what.encode("utf-8", "surrogateescape"), numbers.digits(self._what).encode("utf-8", "replace")}
        return [
            kept.id
            async for kept in self._store.quarantine()
            if any(text and (text in kept.callback.query or text in kept.callback.body) for text in wanted)
        ]


def _print_requests(known: EventTrace) -> None:
    for kept in known.callbacks:
        again = " again" if kept.copy else ""
        show.say(f"{known.event.id} received{again} {kept.callback.received_at.astimezone():%Y-%m-%d %H:%M:%S}")
        for text in records.request(kept.callback):
            show.line(text)
        show.line()
