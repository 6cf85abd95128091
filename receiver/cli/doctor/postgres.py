"""PostgreSQL: the server, what stands behind a commit on it, and its clock. Nothing of it on SQLite."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from receiver import storing, units
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.finding import Finding, ok, problem, skipped
from receiver.errors import ReceiverError

if TYPE_CHECKING:
    from receiver.store.postgres.checkup import Standby, Stands

SERVER, STANDBYS, CLOCK = "postgresql", "standbys", "database clock"
OLDEST = 13
"""The first version whose makers still mend it."""
TOLERATED = timedelta(seconds=2)
LATE = 64 * 1024**2
"""Bytes by which a standby may be behind in applying what it has: more is seconds of a failover."""


async def server(case: Case) -> list[Finding]:
    """Its version and durability, the standbys, the clock. What keeps it from being reached is told of the store."""
    if case.path is not None:
        return []
    try:
        storing.require_driver()
        from receiver.store.postgres import checkup

        stands = await checkup.stands(case.settings.store.url)
    except ReceiverError:
        return []
    return [_server(stands), *_standbys(stands), _clock(stands.ahead)]


def _server(stands: "Stands") -> Finding:
    facts: dict[str, Any] = {
        "version": stands.version,
        "synchronous_commit": stands.level,
        "answer_ms": round(stands.took * 1000, 1),
    }
    major = stands.version.split()[0]
    words = f"{major} · synchronous_commit {stands.level} · answers in {stands.took * 1000:.1f} ms"
    if int(major.partition(".")[0]) < OLDEST:
        cure = f"upgrade the server to {OLDEST} or newer: what is older is not mended any more"
        return problem(SERVER, words, cure, **facts)
    return ok(SERVER, words, **facts)


def _standbys(stands: "Stands") -> list[Finding]:
    """Whether a commit is on more than one machine when it is answered, and how far the others are."""
    facts: dict[str, Any] = {"standbys": stands.named, "replication": [one._asdict() for one in stands.standbys or ()]}
    if not stands.named:
        words = "a commit is on one machine only: what its disk loses, or a failover, was answered and is gone"
        return [skipped(STANDBYS, f"{words}; docs/how-to/high-availability.md", **facts)]
    words = f"a commit waits for {stands.named}"
    if stands.standbys is None:
        return [ok(STANDBYS, f"{words}; how far they are is not shown to this user (GRANT pg_monitor)", **facts)]
    if not any(one.waited_for for one in stands.standbys):
        cure = "start a standby of this name; until then every callback is answered 503, or waits"
        return [problem(STANDBYS, f"{words}, and none is there", cure, **facts)]
    told = ", ".join(map(_standby, stands.standbys))
    if late := [one for one in stands.standbys if one.waited_for and one.behind > LATE]:
        cure = "a failover has to wait until it has applied that: look at its disk and its load"
        return [problem(STANDBYS, f"{words}; {_standby(late[0])}", cure, **facts)]
    return [ok(STANDBYS, f"{words}: {told}", **facts)]


def _standby(one: "Standby") -> str:
    return f"{one.name} ({one.state}) is {units.bytes_words(one.behind)} behind"


def _clock(ahead: timedelta) -> Finding:
    """Times of events are of the receivers' clocks, leases are of the database's."""
    seconds = ahead.total_seconds()
    if abs(ahead) <= TOLERATED:
        return ok(CLOCK, "goes like ours", ahead_seconds=round(seconds, 3))
    words = f"{units.words(abs(ahead))} {'ahead of' if seconds > 0 else 'behind'} ours"
    cure = "on both machines: timedatectl status; timedatectl set-ntp true"
    return problem(CLOCK, words, cure, ahead_seconds=round(seconds, 3))
