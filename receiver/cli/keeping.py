"""`prune` and `migrate`: what `serve` does by itself, done now."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receiver.cli import opening, options, show
from receiver.errors import StoreUnavailable
from receiver.store.base import Store

if TYPE_CHECKING:
    from receiver.config import Settings
    from receiver.retention import Reserve


@options.command(
    "receiver prune",
    "receiver prune --simulated        what `receiver simulate` left, of any age",
)
@options.config
@click.option(
    "--simulated", is_flag=True, help="Remove simulated events and their callbacks, of any age, and no others."
)
def prune(config: Path | None, simulated: bool) -> int:
    """Remove events, callbacks and attempts that are older than store.keep, in small batches.

    What a handler still waits for stays, and so does the newest event. A running receiver does this every hour. On a
    full disk the reserve beside the database is given up first; the receiver makes it again when there is room.
    """
    from receiver.retention import Reserve

    loaded = opening.settings(config)
    reserve = Reserve(loaded.store.path, loaded.store.reserve)
    try:
        removed = _prune(loaded, reserve, simulated=simulated)
    except StoreUnavailable:  # a full disk cannot even be opened
        reserve.give_up()
        removed = _prune(loaded, reserve, simulated=simulated)
    before = opening.now() - loaded.store.keep
    which = "simulated" if simulated else f"from before {_written(before)}"
    show.line(f"{show.count(removed, 'record')} {which} removed")
    if removed:
        opening.acted(loaded, "prune", count=removed, which=which)
    return 0


@options.command(
    "receiver migrate        after an update, before the receiver is started again",
)
@options.config
def migrate(config: Path | None) -> int:
    """Bring the store's schema up to date, after a copy of SQLite's files beside them. Creates a store that is missing.

    A receiver does this by itself when it starts; here it can be seen before. A store of a newer version is refused.
    """
    from receiver import storing

    loaded = opening.settings(config)
    done = storing.migrate(loaded.store)
    for copy in done.copies:
        show.line(f"copied    {show.safe(copy)}")
    for step in done.steps:
        show.line(f"migrated  {step}")
    if done.created:
        show.line(f"created   {show.safe(loaded.store.shown)}")
    if done.steps or done.created:
        opening.acted(loaded, "migrate", count=len(done.steps), steps=list(done.steps))
    else:
        show.line("Nothing to do: the schema is up to date.")
    return 0


def _prune(loaded: "Settings", reserve: "Reserve", *, simulated: bool) -> int:
    from receiver import retention

    async def work(store: Store) -> int:
        stored = (await store.stats(opening.now())).events

        async def gone() -> int:
            return stored - (await store.stats(opening.now())).events

        before = opening.now() - loaded.store.keep
        pruning = retention.prune(store, before, reserve, simulated=simulated)
        return await show.watched(pruning, "events removed", done=gone)

    return opening.run(loaded, work)


def _written(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
