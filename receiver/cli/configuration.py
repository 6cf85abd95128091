"""The commands about configuration: init, urls, check, providers."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic_core import to_jsonable_python

from receiver import config as configuration
from receiver import plugins
from receiver.cli import EX_CONFIG, draft, options
from receiver.config import Settings, Source
from receiver.errors import ConfigFault
from receiver.providers.base import Provider

SECRET_BYTES = 32
DEFAULT_FILE = Path("receiver.toml")
DEFAULT_SOURCES = ("spryng", "bulkvs")


class Url(NamedTuple):
    """One callback URL, and where in the provider's portal it goes."""

    source: str
    provider: str
    endpoint: str
    method: str
    purpose: str
    url: str
    portal: str


def _known_providers(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    known = plugins.providers()
    for name in given:
        if name not in known:
            hint = plugins.did_you_mean(name, known)
            raise click.BadParameter(f'no provider "{name}"; known: {", ".join(known)}{hint}')
    return tuple(dict.fromkeys(given))


@options.command(
    "receiver init --public-url https://sms.example.com",
    "receiver init --source spryng --config /etc/receiver/config.toml",
)
@options.config
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PROVIDER",
    default=DEFAULT_SOURCES,
    show_default=True,
    callback=_known_providers,
    help="A provider that will call; to be repeated.",
)
@click.option("--public-url", default="", metavar="URL", help="How providers reach this machine.")
def init(config: Path | None, sources: tuple[str, ...], public_url: str) -> None:
    """Write a configuration with fresh secrets, ./receiver.toml unless --config names another, and print its URLs."""
    file = (config or DEFAULT_FILE).absolute()
    made = {name: secrets.token_urlsafe(SECRET_BYTES) for name in sources}
    _write(file, draft.text(made, public_url))
    try:
        settings = configuration.load(file, secrets=True)
    except ConfigFault:
        file.unlink()  # a public URL that is none: the next try shall not find this one's file
        raise
    click.echo(f"wrote {file} (mode 0600; it holds the secrets)\n")
    _print_urls(settings)
    shown = "" if file == DEFAULT_FILE.absolute() else f" --config {file}"
    click.echo(f"Next:\n  receiver check{shown}\n  receiver serve{shown}")


@options.command("receiver urls", "receiver urls --json | jq -r .url")
@options.config
@options.as_json
def urls(config: Path | None, as_json: bool) -> None:
    """Print the callback URLs to paste into the providers' portals, and where each goes. They hold the secrets."""
    settings = options.settings(config, secrets=True)
    if as_json:
        for url in _urls(settings):
            _echo_json(url._asdict())
    else:
        _print_urls(settings)
    if not settings.server.public_url:
        click.echo("server.public_url is not set: these URLs hold on this machine only.", err=True)


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


def _check(config: Path | None) -> Checked:
    try:
        settings, faults = configuration.examine(config)
        reads_secrets = not settings.credentials or "CREDENTIALS_DIRECTORY" in os.environ
        if reads_secrets:
            settings, faults = configuration.examine(config, secrets=True)
    except ConfigFault as fault:
        return Checked(None, 0, 0, list(fault.faults), [])
    options.tell(settings)
    faults += configuration.check_handlers(settings, secrets=reads_secrets)
    warned = [] if faults else configuration.warnings(settings, secrets=reads_secrets)
    if not reads_secrets:
        warned.append(f"{settings.file or 'environment'}: secrets were not read: credentials exist in the unit only")
    file = str(settings.file) if settings.file else None
    return Checked(file, len(settings.sources), len(settings.handlers), list(dict.fromkeys(faults)), warned)


def _write(file: Path, text: str) -> None:
    """Create a file that only its owner reads; never touches one that is there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigFault(f"{file}: is there already and stays as it is; remove it or name another: --config") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)


def _urls(settings: Settings) -> Iterator[Url]:
    """All callback URLs, one for each live secret."""
    base = settings.server.public_url or _here(settings)
    for source in settings.sources.values():
        for endpoint in plugins.provider_class(source.provider).endpoints:
            for ending in _endings(source):
                yield Url(
                    source=source.name,
                    provider=source.provider,
                    endpoint=endpoint.name,
                    method=endpoint.method,
                    purpose=endpoint.purpose,
                    url=f"{base}/in/{source.name}/{endpoint.name}{ending}",
                    portal=endpoint.portal,
                )


def _endings(source: Source) -> list[str]:
    return [f"/{secret}" for secret in source.secrets] or [""]


def _here(settings: Settings) -> str:
    listen = settings.server.listen
    return f"http://{listen}" if not listen.path else "http://localhost"


def _print_urls(settings: Settings) -> None:
    if any(source.secrets for source in settings.sources.values()):
        click.echo("Paste these in the providers' portals. They contain your secrets; treat them like passwords:\n")
    for source in settings.sources.values():
        click.echo(f"{source.name}")
        for url in _urls(settings):
            if url.source == source.name:
                click.echo(f"  {url.purpose}\n    {url.url}\n    {url.portal}".rstrip())
        if source.secrets:
            click.echo("  (mixed up? No harm: with the right secret each URL takes all of them.)")
        click.echo()


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
