"""The command `quarantine`: callbacks that could not be read, to be looked at, read again or thrown away."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.callback import Callback
from receiver.cli import opening, options, records, selecting, show
from receiver.errors import Unreadable
from receiver.store.base import Store
from receiver.store.views import Quarantined

if TYPE_CHECKING:
    from receiver.config import Settings
    from receiver.events import Event

ALL = click.option("--all", "everything", is_flag=True, help="All of them.")
IDS = click.argument("ids", nargs=-1, metavar="[ID]...")


@selecting.listing(
    "receiver quarantine                what could not be read, and why",
    "receiver quarantine show 17        the request as it came",
    "receiver quarantine retry --all    after an update: read it again",
)
@options.as_json
@options.config
def quarantine(config: Path | None, as_json: bool) -> None:
    """List callbacks with a right secret that could not be read. They were answered 200 and are kept."""
    loaded = opening.settings(config)
    found = opening.run(loaded, _all)
    if as_json:
        for kept in found:
            show.json_line(records.quarantined(kept))
    elif found:
        _print(found)
    else:
        show.say("Quarantine is empty.")


@quarantine.command("show", cls=options.Command, examples=("receiver quarantine show 17",))
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@options.config
def show_request(config: Path | None, ids: tuple[str, ...]) -> int:
    """Print requests as they came, without the secret of their path. What is no text is shown as \\x.. ."""
    found, missing = opening.run(opening.settings(config), lambda store: _chosen(store, ids))
    for kept in found:
        received = f"{kept.callback.received_at.astimezone():%Y-%m-%d %H:%M:%S}"
        show.say(f"{kept.id}  received {received}  {show.safe(kept.reason)}")
        for text in records.request(kept.callback):
            show.line(text)
    return int(missing)


@quarantine.command(cls=options.Command, examples=("receiver quarantine retry 17", "receiver quarantine retry --all"))
@IDS
@ALL
@options.config
def retry(config: Path | None, ids: tuple[str, ...], everything: bool) -> int:
    """Read callbacks again with the adapters and settings of today; what can be read now becomes events.

    Exit status 1 where one is still unreadable; it stays.
    """
    _require(ids, everything=everything)
    loaded = opening.settings(config)

    async def work(store: Store) -> int:
        found, missing = await _chosen(store, ids)
        if not found and not missing:
            show.say("Quarantine is empty.")
        read = [await _reread(store, loaded, kept) for kept in found]
        if any(read):
            opening.acted(loaded, "quarantine retry", count=sum(read), ids=[kept.id for kept in found])
        return int(missing or not all(read))

    return opening.run(loaded, work)


@quarantine.command(cls=options.Command, examples=("receiver quarantine discard 17",))
@IDS
@ALL
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.config
def discard(config: Path | None, ids: tuple[str, ...], everything: bool, yes: bool) -> int:
    """Throw callbacks away for good, with their bytes."""
    _require(ids, everything=everything)
    loaded = opening.settings(config)

    async def work(store: Store) -> int:
        found, missing = await _chosen(store, ids)
        if not found:
            show.say("Nothing to throw away.")
            return int(missing)
        if not show.agrees(f"Throw {show.count(len(found), 'callback')} away for good?", yes=yes):
            return 1
        count = await store.discard([kept.id for kept in found])
        show.line(f"{show.count(count, 'callback')} thrown away")
        opening.acted(loaded, "quarantine discard", count=count, ids=[kept.id for kept in found])
        return int(missing or count < len(found))

    return opening.run(loaded, work)


def read(loaded: "Settings", callback: Callback) -> "tuple[Sequence[Event], str]":
    """The events of a callback as today's adapter reads it, or why it does not."""
    from receiver import plugins
    from receiver.source import Source

    source = loaded.sources.get(callback.source)
    if source is None:
        return (), f'no source "{callback.source}" is configured'
    provider = plugins.provider_class(source.provider)(source.adapter)
    at = Source(source.name, provider, digests=(), dedupe=source.mo_dedupe == "unanswered")
    try:
        events = at.read(callback)
    except Unreadable as fault:
        return (), str(fault)
    except Exception as fault:  # an adapter's bug must not keep the others from being read
        return (), f"the {provider.name} adapter failed: {type(fault).__name__}: {fault}"
    return events, "" if events else "it holds nothing to store"


async def _reread(store: Store, loaded: "Settings", kept: Quarantined) -> bool:
    """Whether a callback is read now; said on a line of its own."""
    events, fault = read(loaded, kept.callback)
    if fault:
        show.line(f"{show.paint('✗')} {kept.id}  still unreadable, kept: {show.safe(fault)}")
        return False
    recorded = await store.reread(kept, events)
    show.line(f"{show.paint('✓')} {kept.id}  {recorded.outcome}  {' '.join(recorded.events)}")
    return True


async def _all(store: Store) -> list[Quarantined]:
    return [kept async for kept in store.quarantine()]


async def _chosen(store: Store, ids: Sequence[str]) -> tuple[list[Quarantined], bool]:
    """Those of these ids, or all without any; and whether one was not found, which is told."""
    found = [kept async for kept in store.quarantine(ids)]
    missing = [name for name in dict.fromkeys(ids) if name not in {kept.id for kept in found}]
    for name in missing:
        show.say(f"{show.safe(name)}: not in quarantine")
    return found, bool(missing)


def _require(ids: Sequence[str], *, everything: bool) -> None:
    if bool(ids) == everything:
        raise click.UsageError("which? Name ids, or --all")


def _print(found: Sequence[Quarantined]) -> None:
    now = opening.now()
    rows: list[tuple[Any, ...]] = [
        (
            kept.id,
            kept.callback.source,
            kept.callback.endpoint,
            show.clock(kept.callback.received_at, now),
            records.quarantined(kept)["bytes"],
            kept.reason,
        )
        for kept in found
    ]
    show.table(("id", "source", "endpoint", "received", "bytes", "why"), rows)
    show.say("The request:  receiver quarantine show ID    Read again:  receiver quarantine retry --all")
