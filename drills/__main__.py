"""`python -m drills NAME`: run a drill and print its verdict."""

import asyncio
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
    try:
        verdict = asyncio.run(drill())
    except CannotRun as reason:
        click.echo(f"SKIPPED: {reason}", err=True)
        sys.exit(EX_SKIPPED)
    click.echo(verdict.to_json() if as_json else verdict.words())
    sys.exit(0 if verdict.passed else 1)


if __name__ == "__main__":
    drills()
