"""How commands are told which events and dispatches are meant: times, filters, ids, and lists with commands below."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import click

from receiver.cli import opening, options

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

KINDS = ("dlr", "mo", "notice")
DAYS = {"today": 0, "yesterday": 1}


def moment(text: str, now: datetime) -> datetime:
    """A time as people write it: a duration ago, RFC 3339, a date, today, yesterday. Raises ValueError.

    Without a zone it is local time; a day is its local midnight.
    """
    from receiver import units

    word = text.strip().lower().removesuffix("ago").strip()
    if word in DAYS:
        return datetime.combine(now.astimezone().date() - timedelta(days=DAYS[word]), time()).astimezone()
    with suppress(ValueError):
        return now - units.duration(word)
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        example = date(now.year, 1, 31).isoformat()
        raise ValueError(
            f'"{text}" is no time; write "1h", "2 days", "yesterday", "{example}" or "{example}T14:05:00Z"'
        ) from None


def _moment(_ctx: click.Context, _option: click.Parameter, given: str | None) -> datetime | None:
    try:
        return moment(given, opening.now()) if given is not None else None
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


def _status(_ctx: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    from receiver.events import Status
    from receiver.plugins import did_you_mean

    if given is not None and given not in list(Status):
        raise click.BadParameter(f'no status "{given}"; known: {", ".join(Status)}{did_you_mean(given, list(Status))}')
    return given


def _event_id(_ctx: click.Context, _option: click.Parameter, given: Any) -> Any:
    several = isinstance(given, tuple)
    try:
        ids = tuple(str(UUID(name)) for name in (given if several else [given] if given else []))
    except ValueError:
        raise click.BadParameter("an event id looks like 0198c0de-6a1f-7c52-9d6e-0a4c5b6d7e8f") from None
    return ids if several else next(iter(ids), None)


def since(what: str) -> Callable[[Decorated], Decorated]:
    """The option `--since`, on a time that `what` names."""
    return click.option("--since", callback=_moment, metavar="TIME", help=f"{what} then or later: 1h, yesterday, …")


def filtered(function: Decorated) -> Decorated:
    """Give a command the filters of events; their names are those of `Selector`."""
    made = (
        since("Received"),
        click.option("--until", callback=_moment, metavar="TIME", help="Received before then."),
        click.option("--kind", type=click.Choice(KINDS), help="Reports, inbound messages, or the receiver's notices."),
        click.option("--source", metavar="NAME", help="Of one source."),
        click.option("--status", callback=_status, metavar="STATUS", help="Reports that say delivered, failed, …"),
        click.option("--number", metavar="NUMBER", help="To or from a number; compared by its digits."),
        click.option("--message", metavar="ID", help="The provider's message id."),
        click.option("--reference", metavar="TEXT", help="Your own reference."),
    )
    for option in reversed(made):
        function = option(function)
    return function


def event(help: str, *, multiple: bool = False) -> Callable[[Decorated], Decorated]:
    """The option `--event`, as the argument `event`: an event's id or None, or a tuple of ids."""
    return click.option("--event", multiple=multiple, callback=_event_id, metavar="ID", help=help)


def limit(default: int | None, help: str) -> Callable[[Decorated], Decorated]:
    """The option `--limit`; 0 is all."""
    return click.option(
        "--limit", metavar="N", type=click.IntRange(0), default=default, show_default=default is not None, help=help
    )


class Listing(options.Group):
    """A list with commands below it: `dead` and `dead list` print it, `dead retry` acts on what is in it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args[1:] if args[:1] == ["list"] else args)


def listing(*examples: str) -> Callable[[Callable[..., Any]], Listing]:
    """Make a function that prints a list a command with commands below it, which run instead of it."""

    def decorate(function: Callable[..., Any]) -> Listing:
        @wraps(function)
        def alone(**given: Any) -> Any:
            ctx = click.get_current_context()
            if ctx.invoked_subcommand is None:
                return function(**given)
            return _refuse_own_options(ctx)

        return click.group(cls=Listing, examples=examples, invoke_without_command=True)(alone)

    return decorate


def _refuse_own_options(ctx: click.Context) -> None:
    """An option of the list before a command that acts would be thought to narrow the act down, and would not."""
    for option in ctx.command.params:
        given = ctx.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
        if given and option.name != "config":
            raise click.UsageError(
                f"{option.opts[0]} belongs behind the command: {ctx.command_path} {ctx.invoked_subcommand} …", ctx
            )
