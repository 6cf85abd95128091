"""Every command that changes something leaves an audit line; which those are has to be said of each new one."""

import inspect
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from receiver.cli import receiver

READING = {
    "check", "dead", "demo", "doctor", "events", "handlers", "handlers test", "pending", "providers", "quarantine",
    "quarantine show", "stats", "trace", "urls",
}  # fmt: skip
"""They change nothing that stays."""
SAYING = {"serve", "dispatch"}
"""Their log tells what they do."""
SENDING = {"simulate"}
"""It calls a receiver from outside, as a provider does."""
ELSEWHERE = {"init": "receiver.cli.system"}
"""What is done to a system is done in a module of its own."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """All commands with their names; one that does something without a subcommand too."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from leaves(found, (*path, name))
    if path and not (isinstance(command, click.Group) and not command.invoke_without_command):
        yield " ".join(path), command


ALL = dict(leaves(receiver))


@pytest.mark.parametrize("name", sorted(ALL.keys() - READING - SAYING - SENDING))
def test_what_changes_something_writes_an_audit_line(name: str) -> None:
    callback = inspect.unwrap(ALL[name].callback)  # type: ignore[arg-type]
    module = import_module(ELSEWHERE.get(name, callback.__module__))
    assert "opening.acted(" in inspect.getsource(module)


def test_what_only_reads_is_there() -> None:
    assert (READING | SAYING | SENDING) - ALL.keys() <= {"demo"}
