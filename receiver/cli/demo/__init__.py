"""`receiver demo`: the whole of it at work without an account, and nothing is left when it ends."""

import asyncio

import click

from receiver.cli import options


@options.command(
    "receiver demo                     a minute, or until Ctrl-C",
    "receiver demo --seconds 30 | cat  lines instead of a table",
)
@click.option(
    "--seconds",
    type=click.FloatRange(2, 3600),
    default=60,
    show_default=True,
    metavar="N",
    help="How long callbacks are sent.",
)
def demo(seconds: float) -> int:
    """Show everything at work: two emulated providers, a receiver, a target that fails for a while, a mail server.

    All of it is on this machine, with a SQLite store in a temporary folder: a real `receiver serve` is started there.
    The target stops taking events for some seconds and comes back; some callbacks come twice. At the end it is added up
    what was sent, stored and delivered, by the ends themselves. Ctrl-C ends it early, and nothing is left.

    Exit status 1 where anything was lost.
    """
    try:
        from receiver.cli.demo import play

        return asyncio.run(play.perform(seconds))
    except KeyboardInterrupt:  # before there was anything to end
        return 0
