"""The command `erase`: a person's data are removed, and what stays of them is named."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from receiver import numbers
from receiver.cli import opening, options, progress, show
from receiver.store.base import Store
from receiver.store.views import Backup, Erased


def _number(_ctx: click.Context, _option: click.Parameter, given: str) -> str:
    if not numbers.digits(given) or "*" in given:
        raise click.BadParameter("one whole number, as `receiver events` shows it: +31612345678")
    return given.strip()


@options.command(
    "receiver erase --number +31612345678 --dry-run    how much is there?",
    "receiver erase --number +31612345678              asks, then erases",
)
@click.option("--number", metavar="NUMBER", required=True, callback=_number, help="Whose data; compared by its digits.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.as_json
@options.config
def erase(config: Path | None, number: str, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Erase all events to or from a number, with callbacks, dispatches and attempts, while the receiver runs.

    What handlers have not settled is cancelled. No byte of the number stays in the store's files but in what other
    people wrote. Backups made before still hold it and are listed. Exit status 1 where something could not be erased.
    """
    loaded = opening.settings(config)

    async def work(store: Store) -> tuple[Erased | None, Sequence[Backup]]:
        backups = await store.backups()
        if dry_run or not yes:
            there = await progress.followed(lambda tell: _erase(store, number, tell, dry_run=True))
            if dry_run:
                return there, backups
            if not as_json:
                _tell(number, there, "is stored")
                await _hint(store, number, there)
            if not show.agrees("Erase it for good?", yes=False):
                return None, backups
        return await progress.followed(lambda tell: _erase(store, number, tell)), backups

    done, backups = opening.run(loaded, work)
    if done is None:
        return 1
    if as_json:
        show.json_line({**asdict(done), "dry_run": dry_run, "backups": [one.path for one in backups]})
    else:
        _tell(number, done, "is stored" if dry_run else "erased")
        _limits(done, backups)
    if not dry_run:
        opening.acted(loaded, "erase", count=done.events, number=numbers.mask(number), cancelled=done.cancelled)
    return int(done.traces > 0)


async def _erase(store: Store, number: str, tell: Any, *, dry_run: bool = False) -> Erased:
    return await store.erase(number, now=opening.now(), dry_run=dry_run, tell=tell)


def _tell(number: str, told: Erased, verb: str) -> None:
    if not (told.events or told.quarantined):
        show.line(f"{show.safe(number)}  nothing is stored of it")
        return
    parts = [
        show.count(told.events, "event"),
        show.count(told.callbacks, "callback"),
        f"{show.count(told.quarantined, 'callback')} in quarantine",
        f"{show.count(told.cancelled, 'dispatch', 'dispatches')} not settled, cancelled by it",
    ]
    show.line(f"{show.safe(number)}  {verb}: {', '.join(parts)}")


async def _hint(store: Store, number: str, told: Erased) -> None:
    """Where nothing is found: which number may be meant by one without its country."""
    found = [] if told.events else [stored.event for stored in await store.find(number)]
    meant = {one for event in found for one in (event.originator, event.recipient) if one and one.startswith("+")}
    tail = numbers.digits(number).lstrip("0")
    for one in sorted(one for one in meant if one.endswith(tail)):
        show.say(f"Did you mean {show.safe(one)}? It is erased only as it is stored.")


def _limits(told: Erased, backups: Sequence[Backup]) -> None:
    """What still holds the number."""
    if told.mentions:
        show.say(f"{show.count(told.mentions, 'callback')} of other people name it in their words, and stay.")
    if told.traces:
        show.say(f"Old bytes are left on {show.count(told.traces, 'page')}: stop the receiver, and call this again.")
    if backups:
        show.say("Backups made before may hold it, and so may copies of them; remove them yourself:")
    for one in backups:
        there = "" if Path(one.path).exists() else "  (not there any more)"
        show.say(f"  {show.safe(one.path)}  of {one.made_at.astimezone():%Y-%m-%d %H:%M}{there}")
