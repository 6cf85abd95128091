"""The store: its schema, its integrity, and what its figures say of sources, dead letters and quarantine."""

import asyncio
from functools import partial

from receiver import errors, units
from receiver.cli import show
from receiver.cli.doctor.case import Case, aside
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.store.sqlite import checkup
from receiver.store.sqlite.files import dispatch_path
from receiver.store.views import HandlerStats, SourceStats

STORE, INTEGRITY, SOURCE, DEAD, QUARANTINE = "store", "integrity", "source", "dead letters", "quarantine"
PATIENCE = 10.0
"""Seconds for the integrity of a large store."""


async def store(case: Case) -> list[Finding]:
    """Whether there is a store that this version can read."""
    try:
        seen = await case.look()
    except errors.StoreMissing as fault:
        cure = "`receiver serve` creates it: start the receiver"
        return [problem(STORE, f"no database at {case.path}" if case.path else str(fault), cure)]
    except errors.ReceiverError as fault:
        cure = "start the receiver again, it brings the store to this version" if "older schema" in str(fault) else ""
        return [problem(STORE, str(fault), cure or "docs/explanation/faults.md says what each of these means")]
    stored = show.count(seen.stats.events, "event")
    words = f"{case.settings.store.shown} · {stored}"
    return [ok(STORE, words, events=seen.stats.events, schemas=list(seen.schemas))]


async def integrity(case: Case) -> list[Finding]:
    """SQLite's quick check of both files, for ten seconds at most."""
    if case.path is None or not case.path.exists():
        return []
    try:
        async with asyncio.timeout(PATIENCE + 1):  # SQLite before 3.42 does not look at the clock inside a large table
            found = await aside(partial(checkup.integrity, case.path, PATIENCE))
    except TimeoutError:
        found = None
    except errors.ReceiverError as fault:
        return [problem(INTEGRITY, str(fault), "docs/explanation/faults.md says what it means")]
    size = sum(path.stat().st_size for path in (case.path, dispatch_path(case.path)) if path.exists())
    words = units.bytes_words(size)
    if found is None:
        return [skipped(INTEGRITY, f"{words} were too much for {PATIENCE:.0f} s; nothing was wrong that far")]
    if found:
        cure = "stop the receiver, move both files away, restore a backup; what is readable: sqlite3 FILE .recover"
        return [problem(INTEGRITY, f"damaged: {'; '.join(found)}", cure)]
    return [ok(INTEGRITY, f"both files are whole ({words})", bytes=size)]


async def sources(case: Case) -> list[Finding]:
    """When each source called last."""
    seen = await case.seen()
    if seen is None:
        return []
    known = {one.source: one for one in seen.stats.sources}
    return [_source(known.get(source.name, SourceStats(source.name)), case) for source in case.sources]


def _source(one: SourceStats, case: Case) -> Finding:
    last_at = one.last_at.isoformat() if one.last_at else None
    facts = {"stored": one.stored, "simulated": one.simulated, "refused": one.refused, "last_at": last_at}
    refused = f"{show.count(one.refused, 'request')} refused for a wrong secret or address"
    if one.last_at:
        words = f"last callback {show.ago(one.last_at, case.now)}, {show.count(one.stored + one.simulated, 'event')}"
        return ok(SOURCE, f"{words}{f', {refused}' if one.refused else ''}", one.source, **facts)
    if one.refused and not case.settings.sources[one.source].allow_from:
        cure = "if this is your provider, the URL in its portal is not ours: compare it with `receiver urls`"
        return problem(SOURCE, f"no callback yet, but {refused}", cure, one.source, **facts)
    return skipped(SOURCE, "no callback yet", one.source, **facts)


async def dead_letters(case: Case) -> list[Finding]:
    """What handlers gave up."""
    seen = await case.seen()
    if seen is None or case.only:
        return []
    return [_dead(one) for one in seen.stats.handlers if one.dead] or [ok(DEAD, "none", dead=0)]


def _dead(one: HandlerStats) -> Finding:
    cure = f"receiver dead --handler {one.handler}      then: receiver dead retry, or receiver dead discard"
    words = f"{show.count(one.dead, 'dead letter')}: nobody tries again unless asked"
    return problem(DEAD, words, cure, one.handler, dead=one.dead)


async def quarantine(case: Case) -> list[Finding]:
    """What could not be read."""
    seen = await case.seen()
    if seen is None:
        return []
    kept = {name: count for name, count in seen.stats.quarantine.items() if count and case.only in ("", name)}
    cure = "receiver quarantine      then: receiver quarantine retry, or receiver quarantine discard"
    found = [
        problem(QUARANTINE, f"{show.count(count, 'callback')} could not be read, and are kept", cure, name, kept=count)
        for name, count in kept.items()
    ]
    return found or [ok(QUARANTINE, "empty", kept=0)]
