"""`python -m drills NAME`: run a drill and print its verdict."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

from drills.verdict import CannotRun, Verdict

EX_SKIPPED = 77
"""What automake calls a test that could not be run."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def drills() -> None:
    """Whole receivers under faults. Exit status: 0 passed, 1 failed, 77 skipped because something is missing here."""


def run(drill: Callable[[], Coroutine[Any, Any, Verdict]], *, as_json: bool) -> None:
    """Run one drill, print what it found, and end with its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing of ours may outlive us
    try:
        verdict = asyncio.run(drill())
    except CannotRun as reason:
        click.echo(f"SKIPPED: {reason}", err=True)
        sys.exit(EX_SKIPPED)
    click.echo(verdict.to_json() if as_json else verdict.words())
    sys.exit(0 if verdict.passed else 1)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--kills", default=12, show_default=True, help="Rounds; the long run has 1000.")
@click.option("--rate", default=120.0, show_default=True, help="Messages a second; 0: as fast as they are answered.")
@click.option("--repeats", default=0.1, show_default=True, help="The share that comes twice at the same moment.")
@click.option("--ready", default=2.0, show_default=True, help="Seconds from a start to the first 200.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until no more kills are begun.")
@click.option("--victims", multiple=True, type=click.Choice(["serve", "dispatch", "worker", "group"]))
@click.option("--at", default="", type=click.Choice(["", "random", "write", "fsync"]), help="Only at such moments.")
@click.option("--store", default="sqlite", show_default=True, type=click.Choice(["sqlite", "postgres"]))
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def kill(as_json: bool, **plan: Any) -> None:  # noqa: FBT001
    """kill -9 for serve, dispatch, a worker or all of them, again and again, under load, on one store."""
    from drills.kill import Plan, kill_drill

    run(lambda: kill_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="One fault; to be repeated. --list names them.")
@click.option("--all", "everything", is_flag=True, help="All faults, not the short run.")
@click.option("--list", "listed", is_flag=True, help="Only name the faults; those with * are in the short run.")
@click.option("--stops", default=5, show_default=True, help="Of dispatch-stopped; the long run has 100.")
@click.option("--burst", default=1.5, show_default=True, help="Seconds of a burst; the long run has 60.")
@click.option("--for", "seconds", default=3600.0, show_default=True, help="Seconds until no more faults are begun.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def faults(only: tuple[str, ...], *, everything: bool, listed: bool, as_json: bool, **plan: Any) -> None:
    """A full disk, a broken one, a clock that jumps and all else that breaks around a receiver under load."""
    from drills.faults.drill import chosen, drill, told

    if listed:
        click.echo(told())
        return
    names = chosen(only, everything=everything)
    run(lambda: drill(names=names, **plan), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--cuts", default=300, show_default=True, help="Power cuts; the long run has 10000.")
@click.option("--models", default="", metavar="NAMES", help="What survives, with commas between; all, where not given.")
@click.option("--seconds", default=3.0, show_default=True, help="Of load, which the cuts are made into.")
@click.option("--restarts", type=int, help="Cuts behind which a whole receiver is started; 1 of 500, at least 2.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until no more cuts are made.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def powercut(models: str, *, as_json: bool, **plan: Any) -> None:
    """Record what a receiver does to its files under load, and look at the disk had the power gone at any operation."""
    from drills.powercut import drill, models_of

    chosen = models_of(models)
    run(lambda: drill(models=chosen, **plan), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--pairs", default=2, show_default=True, help="Of calm and trouble; the long run has 5.")
@click.option("--seconds", default=3.0, show_default=True, help="Of each half of a pair; the long run has 10.")
@click.option("--rate", default=60.0, show_default=True, help="Messages a second; the long run has 200.")
@click.option("--ratio", default=1.2, show_default=True, help="The p99 with trouble, in times that of calm, or")
@click.option("--extra", default=0.002, show_default=True, help="so many seconds more, beside bad targets alone.")
@click.option(
    "--most", default=0.25, show_default=True, help="Seconds of the p99 beside bad handlers, which take time."
)
@click.option("--lag", default=5.0, show_default=True, help="Seconds that good handlers may be behind.")
@click.option("--for", "within", default=120.0, show_default=True, help="Seconds until all the bad ended up right.")
@click.option("--only", multiple=True, help="A bad handler or target; all where none is named.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def plugins(as_json: bool, **plan: Any) -> None:  # noqa: FBT001
    """Handlers and targets that do harm, beside good ones and the answers."""
    from drills.hostile import HOSTILE
    from drills.plugins import Plan, plugin_drill
    from drills.rogues import ROGUES

    if unknown := sorted({*plan["only"]} - {*ROGUES, *HOSTILE}):
        raise click.UsageError(f"--only {unknown[0]}: known are {', '.join([*ROGUES, *HOSTILE])}")
    run(lambda: plugin_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of load before the backup and after it; long: 30.")
@click.option("--rate", default=200.0, show_default=True, help="Messages a second.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def restore(*, as_json: bool, **plan: Any) -> None:
    """A backup under load; then all is lost but the backup, which is put back as documented."""
    from drills.restore import Plan, restore_drill

    run(lambda: restore_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--from", "start", default="", metavar="REF", help="The version to begin with; default: the oldest tag.")
@click.option("--seconds", default=2.0, show_default=True, help="Of load on each version; long: 30.")
@click.option("--rate", default=150.0, show_default=True, help="Messages a second.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def upgrade(*, as_json: bool, **plan: Any) -> None:
    """The oldest version under load, then this one on the same folder, then back as documented."""
    from drills.upgrade import Plan, upgrade_drill

    run(lambda: upgrade_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--waiting", default=4000, show_default=True, help="Events that wait; the long run has 1000000.")
@click.option("--retries", default=500, show_default=True, help="Of them to be tried again at once; long: 100000.")
@click.option("--window", default=3.0, show_default=True, help="Seconds of each look while it drains.")
@click.option("--rate", default=50.0, show_default=True, help="Reports a second that come meanwhile.")
@click.option("--ready", default=2.0, show_default=True, help="Seconds from a start to the first 200.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until the end is not waited for.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def backlog(*, as_json: bool, **plan: Any) -> None:
    """Many events that wait, for handlers that are slow, fast, down or not concerned; a restart, a replay of all."""
    from drills.backlog.drill import Plan, backlog

    run(lambda: backlog(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--requests", default=40_000, show_default=True, help="Of strangers; the long run has 1000000.")
@click.option("--strangers", default=2, show_default=True, help="Processes of them.")
@click.option("--slow", default=1.0, show_default=True, help="Seconds for 99 of 100 probes.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until the strangers are given up.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def fuzz(*, as_json: bool, **plan: Any) -> None:
    """Hostile requests of every kind, a provider whose callbacks are taken all the while, SIGTERM amid it all."""
    from drills.fuzz.drill import Plan, fuzz

    run(lambda: fuzz(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--failovers", default=3, show_default=True, help="The long run has 20.")
@click.option("--rate", default=60.0, show_default=True, help="Messages a second; the long run has 120.")
@click.option("--repeats", default=0.1, show_default=True, help="The share that comes to two receivers at once.")
@click.option("--found", default=10.0, show_default=True, help="Seconds until the new primary is found.")
@click.option("--ways", multiple=True, type=click.Choice(["killed", "headless", "frozen"]), help="Only these.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until no more are begun.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def failover(*, as_json: bool, **plan: Any) -> None:
    """Two PostgreSQL servers, three receivers: the primary dies or stands still, its standby is promoted."""
    from drills.postgres.failover import Plan, failover_drill

    run(lambda: failover_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--events", default=4000, show_default=True, help="The long run has 200000.")
@click.option("--rate", default=250.0, show_default=True, help="Messages a second; 0: as fast as they are answered.")
@click.option("--repeats", default=0.1, show_default=True, help="The share that comes to two receivers at once.")
@click.option("--every", default=3.0, show_default=True, help="Seconds between two kills.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until no more events are sent.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def many(*, as_json: bool, **plan: Any) -> None:
    """Three receivers and three dispatchers on one PostgreSQL; one process is killed every few seconds."""
    from drills.postgres.many import Plan, many_drill

    run(lambda: many_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="One trouble; to be repeated. All where none is named.")
@click.option("--healed", default=6.0, show_default=True, help="Seconds from the end of one until all is well.")
@click.option("--for", "within", default=3600.0, show_default=True, help="Seconds until no more are begun.")
@click.option("--broken", default="", help="A receiver of drills.broken; then it has to fail.")
@click.option("--json", "as_json", is_flag=True)
def database(*, as_json: bool, **plan: Any) -> None:
    """PostgreSQL away, silent, locked, full or out of connections, under two receivers."""
    from drills.postgres.database import Plan, database_drill
    from drills.postgres.troubles import TROUBLES

    if unknown := sorted({*plan["only"]} - TROUBLES.keys()):
        raise click.UsageError(f"--only {unknown[0]}: known are {', '.join(TROUBLES)}")
    run(lambda: database_drill(Plan(**plan)), as_json=as_json)


@drills.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--requests", default=1000, show_default=True, help="During the restarts, each on its own connection.")
@click.option("--restarts", default=10, show_default=True)
@click.option("--system", default="", metavar="DIR", help="Where the Debian is kept for the next time.")
@click.option("--json", "as_json", is_flag=True)
def systemd(*, as_json: bool, **plan: Any) -> None:
    """Install it in a Debian of its own as the docs say; then restarts, kills, reloads, an upgrade, under systemd."""
    from drills.systemd.drill import Plan, systemd

    run(lambda: systemd(Plan(**plan)), as_json=as_json)


if __name__ == "__main__":
    drills()
