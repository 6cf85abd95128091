"""`receiver doctor`: looks at everything that has to be right, says what is wrong and what helps."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli import EX_CONFIG, opening, options, show
from receiver.errors import ConfigFault

if TYPE_CHECKING:
    from receiver.cli.configuration import Reading
    from receiver.cli.doctor.case import Case
    from receiver.cli.doctor.finding import Finding

CONFIGURATION = "configuration"
CREDENTIALS = Path("/run/credentials/receiver.service")
"""Where systemd keeps what LoadCredential= gives the unit; root may read it."""
WIDTH = 20


@options.command(
    "receiver doctor",
    "receiver doctor --source spryng       why does nothing come from Spryng?",
    "receiver doctor --quiet               for cron: problems only, and silence when all is well",
    "receiver doctor --json | jq 'select(.state == \"problem\")'",
)
@click.option("--source", metavar="NAME", default="", help="Only what callbacks of this source need.")
@click.option("--quiet", is_flag=True, help="Print problems only.")
@options.as_json
@options.config
def doctor(config: Path | None, source: str, quiet: bool, as_json: bool) -> int:
    """Look at everything that has to be right, with the cure for what is not. Nothing is changed, sent or stored.

    Configuration, permissions, disk, store, clock, the running service, the way through the proxy by an empty request
    to the public URL, handlers and their targets, mail servers, sources, dead letters, quarantine. While the receiver
    runs, and while it does not; as root it sees most.

    Exit status 0 where all is well, 1 where something is not, 78 where the configuration is wrong or there is no
    database yet.
    """
    from receiver.cli.doctor.finding import ok, problem

    printed = _Printed(quiet=quiet, as_json=as_json)
    try:
        read = _read(config)
    except ConfigFault as fault:
        printed.add(problem(CONFIGURATION, f"{show.count(len(fault.faults), 'fault')}, told above", "receiver check"))
        raise
    chosen = read.settings
    if read.faults:
        words = show.count(len(read.faults), "fault")
        printed.add(
            problem(CONFIGURATION, f"{chosen.file or 'environment'}: {words}", "receiver check", faults=read.faults)
        )
        raise ConfigFault(*read.faults)
    what = f"{show.count(len(chosen.sources), 'source')}, {show.count(len(chosen.handlers), 'handler')}"
    printed.add(ok(CONFIGURATION, f"{chosen.file or 'no file: trying things out'} · {what}", warnings=read.warnings))
    case = _case(read, source)
    printed.hide(str(secret) for each in chosen.sources.values() for secret in each.secrets)
    asyncio.run(_examine(case, read.warnings, printed))
    printed.end()
    sys.stdout.flush()
    if case.path and not case.path.exists():
        return EX_CONFIG
    return 1 if printed.problems else 0


def _read(config: Path | None) -> "Reading":
    """The configuration; root reads the credentials of the running unit too, where all that are needed are there."""
    from receiver.cli import configuration

    if "CREDENTIALS_DIRECTORY" in os.environ or not os.access(CREDENTIALS, os.R_OK | os.X_OK):
        return configuration.read(config)
    without = configuration.read(config)
    os.environ["CREDENTIALS_DIRECTORY"] = str(CREDENTIALS)
    read = configuration.read(config)
    if read.faults and not without.faults:  # another unit's are needed as well, and are not here
        del os.environ["CREDENTIALS_DIRECTORY"]
        return without
    return read


def _case(read: "Reading", source: str) -> "Case":
    from receiver.cli.doctor.case import Case
    from receiver.config import handler_settings
    from receiver.plugins import did_you_mean

    loaded = read.settings
    if source and source not in loaded.sources:
        known = ", ".join(loaded.sources) or "none"
        raise opening.Refused(f'no source "{source}"; configured: {known}{did_you_mean(source, loaded.sources)}')
    handlers = {name: handler_settings(loaded, name, secrets=read.secrets)[1] for name in loaded.handlers}
    return Case(loaded, handlers, read.secrets, opening.now(), source)


async def _examine(case: "Case", warnings: list[str], printed: "_Printed") -> None:
    from receiver.cli.doctor.examination import examined
    from receiver.cli.doctor.finding import skipped

    for warning in warnings:
        if "others may read" in warning:
            continue  # a matter of permissions, and a problem there
        printed.add(skipped(CONFIGURATION, warning.partition(": ")[2] or warning))
    async for finding in examined(case):
        printed.add(finding)


class _Printed:
    """What was found, printed as it comes."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._quiet, self._as_json = quiet, as_json
        self._secrets: list[str] = []
        self.count = self.problems = 0

    def hide(self, secrets: Any) -> None:
        """These are never printed, whoever says them."""
        self._secrets = [secret for secret in secrets if secret]

    def add(self, finding: "Finding") -> None:
        """Print one, if it is wanted."""
        from receiver.cli.doctor.finding import MARKS, PROBLEM

        self.count += 1
        self.problems += finding.state == PROBLEM
        if self._quiet and finding.state != PROBLEM:
            return
        words, cure = self._harmless(finding.words), self._harmless(finding.cure)
        if self._as_json:
            facts = {**finding._asdict(), "words": words, "cure": cure, "facts": dict(finding.facts)}
            show.json_line(facts)
            return
        name = f"{finding.check} {finding.about}".strip()
        show.line(f"{show.paint(MARKS[finding.state])} {show.bold(f'{name:<{WIDTH}}')} {show.safe(words)}")
        for line in cure.splitlines():
            show.line(f"  {'':<{WIDTH}} {show.safe(line)}")

    def end(self) -> None:
        """The sum, for people."""
        if self._quiet or self._as_json:
            return
        if self.problems:
            show.say(f"{show.count(self.problems, 'problem')}.")
        else:
            show.say(f"All is well: {self.count} checks.")

    def _harmless(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
