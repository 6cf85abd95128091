"""What is written about the commands: the reference has every command and option, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from receiver import cli

REFERENCE = Path(__file__).parents[1] / "docs/reference/commands.md"
EVERYWHERE = {"--config", "--help"}  # told once, at the top


def documented() -> dict[str, set[str]]:
    """Options of the reference, by the command in their heading."""
    sections = re.split(r"^##+ ", REFERENCE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        part.splitlines()[0].strip("`"): set(re.findall(r"^\| `(--[a-z-]+)", part, re.MULTILINE)) for part in sections
    }


def in_code() -> dict[str, set[str]]:
    """Options of the code, hidden ones left out."""
    return dict(options_of("", cli.receiver))


def options_of(path: str, command: click.Command) -> Iterator[tuple[str, set[str]]]:
    if path:
        shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        yield path, {name for option in shown for name in option.opts if name.startswith("--")} - EVERYWHERE
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from options_of(f"{path} {name}".strip(), below)


def test_the_reference_has_every_command_and_option_and_no_other() -> None:
    assert documented() == in_code()


def test_every_command_begins_its_help_with_examples_that_are_its_own() -> None:
    for path in in_code():
        command: click.Command = cli.receiver
        for name in path.split():
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), name)
            assert found
            command = found
        examples = getattr(command, "examples", ())
        assert examples, path
        assert all(example.startswith(f"receiver {path.split()[0]}") for example in examples), path
