"""The commands about dispatches: pending, dead and replay."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from receiver import units
from receiver.cli import opening, options, records, selecting, show
from receiver.store.base import Store
from receiver.store.views import DispatchLine, DispatchSelector, HandlerStats, Selector, Standing

LISTED = 50
HANDLER = click.option("--handler", metavar="NAME", help="Of one handler.")
REASON = click.option("--reason", metavar="TEXT", help="With this in the reason, in any case.")
ALL = click.option("--all", "everything", is_flag=True, help="All of them.")
IDS = click.argument("ids", nargs=-1, metavar="[DISPATCH]...")
LIMIT = selecting.limit(None, f"At most so many; 0: all. Default: {LISTED}, and all with --json.")


@selecting.listing(
    "receiver pending                   how much waits for whom, and why",
    "receiver pending --handler crm     what waits",
    "receiver pending retry --handler crm",
)
@HANDLER
@LIMIT
@options.as_json
@options.config
def pending(config: Path | None, handler: str | None, limit: int | None, as_json: bool) -> None:
    """Show what waits, by handler and age. With --handler or --json each dispatch, the oldest first."""
    loaded = opening.settings(config)
    opening.run(loaded, lambda store: _pending(store, handler, limit, as_json=as_json))


@pending.command(
    cls=options.Command,
    examples=("receiver pending retry crm:4711", "receiver pending retry --handler crm"),
)
@IDS
@HANDLER
@REASON
@ALL
@options.config
def retry(config: Path | None, **choices: Any) -> int:
    """Make dispatches due now that wait to be tried again. DISPATCH is what `pending --handler` shows."""
    return _act("pending", "retry", config, **choices)


@selecting.listing(
    "receiver dead --since yesterday",
    "receiver dead --handler crm --json | jq -r .reason | sort | uniq -c",
    'receiver dead retry --handler crm --reason "401"',
)
@HANDLER
@selecting.since("Died")
@REASON
@LIMIT
@options.as_json
@options.config
def dead(config: Path | None, limit: int | None, as_json: bool, **where: Any) -> None:
    """List dead letters: what a handler gave up, or what ran out of attempts. The oldest come first."""
    loaded = opening.settings(config)
    opening.run(loaded, lambda store: _dead(store, limit, as_json=as_json, **where))


@dead.command(
    "retry",
    cls=options.Command,
    examples=("receiver dead retry crm:4711 crm:4712", "receiver dead retry --handler crm --since 2h"),
)
@IDS
@HANDLER
@selecting.since("Died")
@REASON
@ALL
@options.config
def retry_dead(config: Path | None, **choices: Any) -> int:
    """Dispatch dead letters again, with all their attempts. DISPATCH is what `dead` shows."""
    return _act("dead", "retry", config, **choices)


@dead.command(
    cls=options.Command,
    examples=("receiver dead discard crm:4711", 'receiver dead discard --handler crm --reason "no such customer"'),
)
@IDS
@HANDLER
@selecting.since("Died")
@REASON
@ALL
@options.config
def discard(config: Path | None, **choices: Any) -> int:
    """Give dead letters up for good; they count as cancelled. DISPATCH is what `dead` shows."""
    return _act("dead", "discard", config, **choices)


@options.command(
    "receiver replay --handler crm --since 2h --dry-run    how many would it be?",
    "receiver replay --handler crm --since 2h --status failed",
    "receiver replay --handler crm --event 0198c0de-6a1f-7c52-9d6e-0a4c5b6d7e8f --yes",
)
@click.option("--handler", required=True, metavar="NAME", help="Who is given them again.")
@selecting.filtered
@selecting.event("One event by its id; to be repeated.", multiple=True)
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.config
def replay(config: Path | None, handler: str, event: tuple[str, ...], dry_run: bool, yes: bool, **filters: Any) -> int:
    """Give stored events to a handler again, or for the first time. Without a filter: all that are stored.

    The handler's own filters hold. Prints how many events it is, and asks.
    """
    loaded, selector = opening.settings(config), Selector(ids=event, **filters)

    async def work(store: Store) -> int:
        stats = await opening.handler_stats(store, handler)
        if stats.state == "absent":
            raise opening.Refused(f"{handler} is not configured; nobody would be given the events")
        count = await store.replay(handler, selector, now=opening.now(), dry_run=True)
        show.line(f"{show.count(count, 'event')} for {handler}")
        missing = len(set(event)) - count if event else 0
        if missing > 0:
            show.say(f"{show.count(missing, 'event')} not found, or kept away by the other filters")
        if dry_run or not count:
            return int(missing > 0)
        if not show.agrees(f"Give {handler} {show.count(count, 'event')}, whether it had them or not?", yes=yes):
            return 1
        done = await _replay(store, stats, selector, count)
        what = {key: str(value) for key, value in filters.items() if value}
        opening.acted(loaded, "replay", count=done, handler=handler, ids=event, **what)
        _hint(stats.standing)
        return int(missing > 0)

    return opening.run(loaded, work)


async def _replay(store: Store, before: HandlerStats, selector: Selector, count: int) -> int:
    async def so_far() -> int:
        return (await opening.handler_stats(store, before.handler)).received - before.received

    work = store.replay(before.handler, selector, now=opening.now())
    return await show.watched(work, "replay", done=so_far, total=count)


async def _pending(store: Store, handler: str | None, limit: int | None, *, as_json: bool) -> None:
    if handler:
        await opening.handler_stats(store, handler)
    elif not as_json:
        _print_waiting([one for one in (await store.stats(opening.now())).handlers if one.pending])
        return
    await _list(store, DispatchSelector(state="pending", handler=handler), limit, as_json=as_json)


async def _dead(store: Store, limit: int | None, *, as_json: bool, **where: Any) -> None:
    if where["handler"]:
        await opening.handler_stats(store, where["handler"])
    await _list(store, DispatchSelector(state="dead", **where), limit, as_json=as_json)


async def _list(store: Store, selector: DispatchSelector, limit: int | None, *, as_json: bool) -> None:
    lines = store.dispatches(selector, opening.now())
    is_dead = selector.state == "dead"
    if as_json:
        async for line in opening.limited(lines, limit or 0):
            show.json_line(records.dead(line) if is_dead else records.pending(line))
        return
    most = LISTED if limit is None else limit
    found = [line async for line in opening.limited(lines, most)]
    if not found:
        show.say("No dead letters." if is_dead else "Nothing waits.")
        return
    (_print_dead if is_dead else _print_pending)(found)
    if len(found) == most:
        show.say(f"These are the first {most}; --limit 0 shows all.")
    show.say("What an event is about:  receiver trace EVENT")


def _print_waiting(waiting: Sequence[HandlerStats]) -> None:
    if not waiting:
        show.say("Nothing waits.")
        return
    now = opening.now()
    show.table(
        ("handler", "waiting", "oldest", "state", "why"),
        [
            (
                one.handler,
                one.pending,
                show.age(one.oldest_pending_at, now),
                show.state(one.state),
                one.standing.reason if one.state != "ok" else one.standing.last_error,
            )
            for one in sorted(waiting, key=lambda one: one.oldest_pending_at or now)
        ],
    )
    show.say("Each of them:  receiver pending --handler NAME")


def _print_pending(found: Sequence[DispatchLine]) -> None:
    now = opening.now()
    show.table(
        ("dispatch", "event", "age", "tried", "next", "reason"),
        [
            (line.id, line.event, show.age(line.received_at, now), line.attempts, _due(line, now), line.reason)
            for line in found
        ],
    )


def _print_dead(found: Sequence[DispatchLine]) -> None:
    now = opening.now()
    show.table(
        ("dispatch", "event", "tried", "died", "reason"),
        [(line.id, line.event, line.attempts, show.clock(line.died_at or now, now), line.reason) for line in found],
    )


def _due(line: DispatchLine, now: datetime) -> str:
    if line.due_at is None or line.due_at <= now:
        return "now"
    return f"in {units.words(line.due_at - now)}"


def _act(state: str, act: str, config: Path | None, *, ids: tuple[str, ...], everything: bool, **where: Any) -> int:
    """Retry or discard what is selected, and say how much it was; 1 where an id was not found."""
    if not (ids or everything or any(where.values())):
        raise click.UsageError("which? Name dispatches, --handler or another option, or --all")
    if everything and (ids or any(where.values())):
        raise click.UsageError("--all means all; leave out what narrows it down")
    loaded = opening.settings(config)

    async def work(store: Store) -> int:
        standing = (await opening.handler_stats(store, where["handler"])).standing if where["handler"] else None
        selector = DispatchSelector(state=state, ids=ids, **where)
        found = {line.id async for line in store.dispatches(selector, opening.now())} if ids else set()
        missing = [name for name in dict.fromkeys(ids) if name not in found]
        for name in missing:
            show.say(f"{show.safe(name)}: not found among what {'is dead' if state == 'dead' else 'waits for a retry'}")
        verb = store.cancel if act == "discard" else store.requeue
        count = await verb(selector, opening.now()) if found or not ids else 0
        show.line(f"{show.count(count, 'dispatch', 'dispatches')} {'given up' if act == 'discard' else 'due now'}")
        if count:
            what = {name: str(value) for name, value in where.items() if value}
            opening.acted(
                loaded, f"{state} {act}", count=count, ids=sorted(found), everything=everything or None, **what
            )
            _hint(standing, act)
        return int(bool(missing))

    return opening.run(loaded, work)


def _hint(standing: Standing | None, act: str = "") -> None:
    """Why what is due now may not move all the same."""
    if act == "discard" or standing is None or standing.state == "ok":
        return
    name, cure = standing.handler, "resume" if standing.state == "paused" else "test"
    show.say(f"{name} is {show.state(standing.state)}: {show.safe(standing.reason)}.  receiver handlers {cure} {name}")
