"""What the commands share: their form with examples first, `--config` and `--json`, and loading the settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from receiver.config import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Command(click.Command):
    """A command whose help starts with examples."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


class Group(Command, click.Group):
    """A command with commands below it, whose help starts with examples."""


def _write_examples(formatter: click.HelpFormatter, examples: tuple[str, ...]) -> None:
    if examples:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {example}\n" for example in examples))
        formatter.write_paragraph()


def command(*examples: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help below the examples, what it returns the exit status."""
    return click.command(cls=Command, examples=examples, **attributes)


def group(*examples: str, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a command with commands below it, which `@NAME.command(cls=Command, examples=(…))` adds."""
    return click.group(cls=Group, examples=examples, **attributes)


def config(function: Decorated) -> Decorated:
    """Give a command the option `--config FILE`, as the argument `config`."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The configuration file. Default: $RECEIVER_CONFIG, ./receiver.toml, /etc/receiver/config.toml.",
    )(function)


def as_json(function: Decorated) -> Decorated:
    """Give a command the flag `--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")(function)


def settings(config: Path | None, *, secrets: bool = False, quiet: bool = False, **overrides: str | None) -> "Settings":
    """Load the configuration and tell on standard error which file it is. Raises ConfigFault.

    `overrides` are options that stand for a key, such as `server__listen="127.0.0.1:8090"`; they win over the
    rest, and None is none.
    """
    from receiver.config import load

    given = {f"RECEIVER_{key.upper()}": value for key, value in overrides.items() if value is not None}
    env = {**os.environ, **given}
    loaded = load(config, secrets=secrets, env=env)
    if not quiet:
        tell(loaded)
    return loaded


def tell(loaded: "Settings") -> None:
    """Say on standard error which configuration was chosen."""
    chosen = loaded.file or "no file (neither ./receiver.toml nor /etc/receiver/config.toml)"
    click.echo(f"configuration: {chosen}", err=True)
