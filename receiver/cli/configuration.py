"""The commands that look at configuration: check, and providers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic_core import to_jsonable_python

from receiver import config as configuration
from receiver import plugins
from receiver.cli import EX_CONFIG, options
from receiver.config import Settings
from receiver.errors import ConfigFault
from receiver.providers.base import Provider


@options.command("receiver check", "receiver check --config /etc/receiver/config.toml --json")
@options.config
@options.as_json
def check(config: Path | None, as_json: bool) -> int:
    """Validate the configuration and its handlers, which are imported, without touching the network."""
    checked = _check(config)
    for line in [*checked.faults, *(f"warning: {warning}" for warning in checked.warnings)]:
        click.echo(line, err=True)
    if as_json:
        _echo_json({**checked._asdict(), "ok": not checked.faults})
    elif checked.faults:
        click.echo(f"{_count(len(checked.faults), 'fault')}. A running receiver keeps its old configuration.", err=True)
    else:
        click.echo(f"ok: {_count(checked.sources, 'source')}, {_count(checked.handlers, 'handler')}")
    return EX_CONFIG if checked.faults else 0


@options.command("receiver providers", "receiver providers --json")
@options.as_json
def providers(as_json: bool) -> None:
    """List the providers there are, with their endpoints and the settings of their own."""
    for name, where in plugins.providers().items():
        provider = plugins.provider_class(name)
        if as_json:
            _echo_json(_described(name, where, provider))
            continue
        click.echo(f"{name}  {provider.summary}")
        click.echo(f"  from      {where}")
        for endpoint in provider.endpoints:
            click.echo(f"  endpoint  {endpoint.method:5} /in/{name}/{endpoint.name}  {endpoint.purpose}")
        for key, default in _defaults(provider).items():
            click.echo(f"  setting   {key} = {json.dumps(default, ensure_ascii=False)}")
        click.echo()


class Checked(NamedTuple):
    """What `check` found."""

    file: str | None
    sources: int
    handlers: int
    faults: list[str]
    warnings: list[str]


class Reading(NamedTuple):
    """A configuration as far as it can be read here."""

    settings: Settings
    faults: list[str]
    warnings: list[str]
    secrets: bool
    """Whether secrets were read: credentials exist in the unit only."""


def read(config: Path | None) -> Reading:
    """The configuration with its handlers, which are imported. Raises ConfigFault where it is no TOML."""
    settings, faults = configuration.examine(config)
    secrets = not settings.credentials or _has_credentials()
    if secrets:
        settings, faults = configuration.examine(config, secrets=True)
    faults += configuration.check_handlers(settings, secrets=secrets)
    warned = [] if faults else configuration.warnings(settings, secrets=secrets)
    if not secrets:
        warned.append(f"{settings.file or 'environment'}: secrets were not read: credentials exist in the unit only")
    return Reading(settings, list(dict.fromkeys(faults)), warned, secrets)


def _check(config: Path | None) -> Checked:
    try:
        settings, faults, warned, _ = read(config)
    except ConfigFault as fault:
        return Checked(None, 0, 0, list(fault.faults), [])
    options.tell(settings)
    file = str(settings.file) if settings.file else None
    return Checked(file, len(settings.sources), len(settings.handlers), faults, warned)


def _has_credentials() -> bool:
    """Whether credentials can be read here. systemd names their folder to ExecReload= too, but does not let it in."""
    return os.access(os.environ.get("CREDENTIALS_DIRECTORY", ""), os.R_OK | os.X_OK)


def _described(name: str, where: str, provider: type[Provider]) -> dict[str, Any]:
    return {
        "provider": name,
        "from": where,
        "summary": provider.summary,
        "signed": provider.signed,
        "endpoints": [endpoint._asdict() for endpoint in provider.endpoints],
        "settings": _defaults(provider),
    }


def _defaults(provider: type[Provider]) -> dict[str, Any]:
    """A provider's own keys with their defaults; None where a key must be given."""
    fields = provider.Settings.model_fields
    return {
        field.alias or key: None
        if field.is_required()
        else to_jsonable_python(field.get_default(call_default_factory=True))
        for key, field in fields.items()
    }


def _echo_json(told: Mapping[str, Any]) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
