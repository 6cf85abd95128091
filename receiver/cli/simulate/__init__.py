"""`receiver simulate`: plays the provider, and checks that the receiver keeps what it promises."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver import units
from receiver.cli import options

if TYPE_CHECKING:
    from receiver.cli.simulate.run import Plan
    from receiver.cli.simulate.shape import Shape
    from receiver.cli.simulate.tally import Tally
    from receiver.cli.simulate.target import Target

EX_UNAVAILABLE = 69
KINDS = ("dlr", "mo")


def _mix(_ctx: click.Context, _option: click.Parameter, given: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in given.split(","):
        kind, _, share = part.strip().partition("=")
        shares[kind] = _number(share)
    if not set(shares) <= set(KINDS) or min(shares.values()) < 0 or not any(shares.values()):
        raise click.BadParameter('expected shares such as "dlr=80,mo=20", not all of them 0')
    return shares


def _rate(_ctx: click.Context, _option: click.Parameter, given: str) -> float:
    rate = _number(given.removesuffix("/s"))
    if rate < 0:
        raise click.BadParameter('expected callbacks a second, such as "200" or "200/s"; 0: as fast as possible')
    return rate


def _number(text: str) -> float:
    """A number from 0 on; -1 for anything else."""
    try:
        number = float(text)
    except ValueError:
        return -1
    return number if 0 <= number < float("inf") else -1


def _duration(_ctx: click.Context, _option: click.Parameter, given: str | None) -> timedelta | None:
    try:
        return units.duration(given) if given is not None else None
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


@options.command(
    "receiver simulate spryng                           100 callbacks to the receiver of the configuration",
    "receiver simulate bulkvs --count 20000 --rate 500  500 a second; try killing the receiver meanwhile",
    "receiver simulate spryng --mix mo=100 --url https://sms.example.com/in/spryng/mo/SECRET",
)
@click.argument("provider")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many different callbacks.")
@click.option(
    "--rate", callback=_rate, default="0", help="Callbacks a second, such as 200/s. Default 0: as fast as possible."
)
@click.option("--mix", callback=_mix, default="dlr=80,mo=20", show_default=True, help="Shares of reports and messages.")
@click.option(
    "--duplicates",
    type=click.FloatRange(0, 100),
    default=5,
    show_default=True,
    metavar="PERCENT",
    help="How many come a second time although they were answered.",
)
@click.option("--url", help="A base URL such as http://127.0.0.1:8080, or a whole callback URL with its secret.")
@click.option(
    "--speedup",
    type=click.FloatRange(0, min_open=True),
    default=60,
    show_default=True,
    metavar="TIMES",
    help="Repeat refused callbacks this much faster than the provider: with 60 its minute is a second.",
)
@click.option(
    "--give-up",
    metavar="DURATION",
    callback=_duration,
    help="Stop repeating a callback after this time. Default: the provider's own, sped up.",
)
@click.option("--connections", type=click.IntRange(1, 1024), default=64, show_default=True, help="Requests at a time.")
@click.option("--seed", type=int, help="Make the same choices again; ids and times are new in every run.")
@options.as_json
@options.config
def simulate(provider: str, url: str | None, config: Path | None, as_json: bool, **choices: Any) -> int:
    """Send callbacks as a provider would: reports and messages in a realistic mix, some of them twice.

    PROVIDER is spryng or bulkvs, or the name of a source of theirs. What is refused (no connection, no answer, 5xx)
    is sent again as the provider does: Spryng's reports exponentially for 2.5 days, its messages each minute for
    24 hours; BulkVS publishes no schedule, each minute for 24 hours is a guess. Every answer is checked: 200, the
    right outcome, the id of the event. All carry the header Receiver-Simulated: 1; `prune --simulated` removes them.

    Exit status 1 when an answer was wrong or a callback was given up, 69 when nobody listens.
    """
    from receiver.cli.simulate.run import NothingThere, Plan

    name, shape, target = _aim(provider, url, config)
    plan = Plan(shape=shape, target=target, **choices)
    try:
        tally = _run(plan)
    except NothingThere as reason:
        click.echo(f"receiver: nobody answers at {target} ({reason}). Is it running?  receiver serve", err=True)
        return EX_UNAVAILABLE
    if as_json:
        click.echo(json.dumps({"provider": name, **tally.figures()}))
    else:
        click.echo(tally.words(name))
    return int(tally.failed)


def _aim(wanted: str, url: str | None, config: Path | None) -> "tuple[str, Shape, Target]":
    """The provider, its shape, and where to send; the configuration is read unless the URL says it all."""
    from receiver.cli.simulate import bulkvs, spryng, target

    shapes = {"spryng": spryng.SHAPE, "bulkvs": bulkvs.SHAPE}
    if url and target.is_whole(url):
        if wanted not in shapes:
            raise click.BadParameter(_unknown(wanted, shapes), param_hint="PROVIDER")
        return wanted, shapes[wanted], target.from_url(url, wanted)
    settings = options.settings(config, secrets=True)
    source = settings.sources.get(wanted)
    provider = source.provider if source else wanted
    if provider not in shapes:
        raise click.BadParameter(_unknown(wanted, [*shapes, *settings.sources]), param_hint="PROVIDER")
    return provider, shapes[provider], target.from_settings(settings, wanted, url)


def _unknown(wanted: str, known: Iterable[str]) -> str:
    from receiver.plugins import did_you_mean

    return f'"{wanted}" can not be simulated; known: {", ".join(dict.fromkeys(known))}{did_you_mean(wanted, known)}'


def _run(plan: "Plan") -> "Tally":
    import uvloop

    from receiver.cli.simulate.run import Run

    with _bar(plan.count) as moved:
        return uvloop.run(Run(plan, moved=moved).run())


@contextmanager
def _bar(count: int) -> "Iterator[Callable[[Tally], None]]":
    """A progress bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=count)

        def moved(tally: "Tally") -> None:
            progress.update(
                task,
                completed=tally.finished,
                total=max(count, tally.sent),
                description=f"{tally.refused:,} refused, {tally.wrong:,} wrong",
            )

        yield moved
