"""The command `receiver`: its commands, imported when they are called, and what a fault costs."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from receiver import __version__, errors
from receiver.cli.options import Group

EX_UNAVAILABLE, EX_CONFIG, INTERRUPTED = 69, 78, 130  # sysexits.h; 128 + SIGINT

EXIT_STATUSES: dict[type[errors.ReceiverError], int] = {
    errors.ConfigFault: EX_CONFIG,
    errors.PluginFault: EX_CONFIG,
    errors.StoreMissing: EX_CONFIG,
    errors.StoreUnusable: EX_CONFIG,
    errors.StoreTaken: EX_UNAVAILABLE,
    errors.StoreUnavailable: EX_UNAVAILABLE,
}


class Entry(NamedTuple):
    """Where a command lives, and its line in the list of commands: so that the list imports none of them."""

    target: str
    summary: str


COMMANDS = {
    "serve": Entry("receiver.cli.running:serve", "Receive callbacks and run the handlers."),
    "dispatch": Entry("receiver.cli.running:dispatch", "Run only the handlers."),
    "demo": Entry("receiver.cli.demo:demo", "Show everything at work, without an account; leaves nothing."),
    "init": Entry("receiver.cli.init:init", "Write a configuration with fresh secrets."),
    "urls": Entry("receiver.cli.urls:urls", "Print the callback URLs for the providers' portals."),
    "check": Entry("receiver.cli.configuration:check", "Validate the configuration without touching the network."),
    "doctor": Entry("receiver.cli.doctor:doctor", "Look at everything that has to be right, and say what helps."),
    "simulate": Entry("receiver.cli.simulate:simulate", "Send callbacks as a provider would."),
    "events": Entry("receiver.cli.looking:events", "Print stored events."),
    "trace": Entry("receiver.cli.looking:trace", "Tell what became of a message."),
    "stats": Entry("receiver.cli.looking:stats", "Print the counters of handlers and sources."),
    "pending": Entry("receiver.cli.dispatches:pending", "Show what waits for a handler, or make it due now."),
    "dead": Entry("receiver.cli.dispatches:dead", "Show dead letters, try them again or give them up."),
    "replay": Entry("receiver.cli.dispatches:replay", "Give stored events to a handler again."),
    "quarantine": Entry(
        "receiver.cli.quarantine:quarantine", "Show callbacks that could not be read, or read them again."
    ),
    "handlers": Entry("receiver.cli.handlers:handlers", "Show, test, pause and resume handlers."),
    "providers": Entry("receiver.cli.configuration:providers", "List the providers, their endpoints and settings."),
    "prune": Entry("receiver.cli.keeping:prune", "Remove what is older than it has to be kept."),
    "erase": Entry("receiver.cli.erase:erase", "Remove a person's data."),
    "backup": Entry("receiver.cli.backup:backup", "Copy the store while the receiver runs, and verify the copy."),
    "copy": Entry("receiver.cli.copying:copy", "Copy a whole store into another: from SQLite to PostgreSQL, or back."),
    "migrate": Entry("receiver.cli.keeping:migrate", "Bring the store's schema up to date."),
}


class Commands(Group):
    """The group of all commands. A command's module is imported when the command is called, not before."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from receiver.plugins import did_you_mean

            raise click.UsageError(f'no command "{args[0]}"{did_you_mean(args[0], COMMANDS)}', ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as fault:
            option = fault.option_name
            message = f"no option {option} here; options follow the command: receiver COMMAND {option} …"
            raise click.UsageError(message, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click sees it and ends with 1
            return _reader_is_gone()

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=Commands,
    examples=(
        "receiver serve                       try it: no configuration needed, this machine only",
        "receiver init --public-url https://sms.example.com",
        "receiver trace order-42              did this message arrive?",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="receiver", message="%(prog)s %(version)s")
def receiver() -> None:
    """Receives SMS delivery reports and inbound messages, stores each before it answers, hands them to your code."""


def main() -> None:
    """The console script: run a command and end with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status; a fault becomes a few lines on standard error."""
    try:
        returned = receiver.main(list(arguments), prog_name="receiver", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as fault:
        fault.show()
        return fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_is_gone()
    except errors.ReceiverError as fault:
        return _told(fault)
    except OSError as fault:
        click.echo(f"receiver: {fault.filename or 'input or output'}: {fault.strerror or fault}", err=True)
        return 1
    return _status(returned)


def _status(returned: Any) -> int:
    return returned if isinstance(returned, int) else 0


def _told(fault: errors.ReceiverError) -> int:
    own_lines = isinstance(fault, errors.ConfigFault)  # each begins with its file
    words = str(fault) if own_lines else f"receiver: {fault}"
    if "JOURNAL_STREAM" in os.environ:  # systemd started us
        from receiver import logs

        words = logs.plain(words, "error", stream=sys.stderr)
    click.echo(words, err=True)
    return next((status for kind, status in EXIT_STATUSES.items() if isinstance(fault, kind)), 1)


def _reader_is_gone() -> int:
    """`receiver events | head` is no fault; what is still buffered must not raise again at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
