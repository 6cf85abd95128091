"""`python -m benchmarks`: measures, and prints what came out beside what was to be reached."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import disk, forwarding, machine, plan, report
from benchmarks.beside import beside, plot
from benchmarks.intake import intake
from benchmarks.plan import Plan
from benchmarks.postgres import postgres
from benchmarks.report import Section
from benchmarks.stored import growth, memory, queries, start

SCENARIOS: dict[str, Callable[[Plan], Section]] = {
    "intake": intake,
    "people": beside,
    "growth": growth,
    "dispatching": forwarding.dispatching,
    "forwarding": forwarding.forwarding,
    "slow-disk": disk.slow,
    "prune": disk.prune,
    "start": start,
    "queries": queries,
    "memory": memory,
    "postgres": postgres,
}
IN_MEMORY = ("tmpfs", "ramfs", "overlay")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", type=click.Choice(list(SCENARIOS)), multiple=True, help="This scenario; may be repeated.")
@click.option("--quick", "size", flag_value="quick", help="Seconds: shows that it works, and nothing about speed.")
@click.option("--long", "size", flag_value="long", help="Half an hour, up to five million stored.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each is measured, in turn.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="How long each is measured.")
@click.option("--kind", type=click.Choice(["dlr", "mo", "bulkvs"]), multiple=True, help="Intake of this kind only.")
@click.option("--connections", type=click.IntRange(min=1), multiple=True, help="Intake on so many connections only.")
@click.option("--stored", type=click.IntRange(min=1000), multiple=True, help="A store of this size; may be repeated.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default="/var/tmp", help="On the disk that is to be measured."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw `people` into this file (SVG).")
@click.option("--write", is_flag=True, help="Keep the tables, as benchmarks/results/DATE.md.")
def main(
    *,
    only: tuple[str, ...],
    size: str | None,
    rounds: int | None,
    seconds: float | None,
    kind: tuple[str, ...],
    connections: tuple[int, ...],
    stored: tuple[int, ...],
    folder: Path,
    as_json: bool,
    picture: Path | None,
    write: bool,
) -> None:
    """Measure the receiver on this machine, everything in turn in one run."""
    if machine.disk(folder) in IN_MEMORY:
        _say(f"{folder} is on {machine.disk(folder)}: what a flush costs there says nothing. See --folder.")
    work = Path(tempfile.mkdtemp(prefix="receiver-benchmark-", dir=folder))
    facts = machine.facts(work)
    try:
        planned = {"quick": plan.quick, "long": plan.long}.get(size or "", plan.usual)(work, _say)
        planned.rounds, planned.seconds = rounds or planned.rounds, seconds or planned.seconds
        planned.kinds, planned.connections = kind or planned.kinds, connections or planned.connections
        planned.stored = tuple(sorted(stored)) or planned.stored
        sections = [_measure(name, planned) for name in only or SCENARIOS]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    click.echo(report.as_json(sections, facts) if as_json else report.words(sections, verdicts=size != "quick"))
    for section in sections:
        if picture and section.scenario == "people":
            _say(f"drawn: {plot(section, picture)}")
    if write:
        _say(f"written: {report.write(sections, facts, plan.now())}")
    sys.exit(1 if any(section.failed for section in sections) else 0)


def _measure(name: str, planned: Plan) -> Section:
    """One scenario; what goes wrong in it costs the others nothing."""
    try:
        return SCENARIOS[name](planned)
    except (RuntimeError, AssertionError, OSError, sqlite3.Error, subprocess.SubprocessError) as fault:
        _say(f"{name} FAILED: {fault}")
        return Section(name, "FAILED", notes=[f"{type(fault).__name__}: {fault}"], failed=True)


def _say(words: str) -> None:
    click.echo(words, err=True)


if __name__ == "__main__":
    main()
