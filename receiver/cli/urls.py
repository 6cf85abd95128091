"""The command `urls`: the callback URLs, and where in the providers' portals each goes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from receiver import plugins
from receiver.cli import options, show
from receiver.config import Settings, Source


class Url(NamedTuple):
    """One callback URL, and where in the provider's portal it goes."""

    source: str
    provider: str
    endpoint: str
    method: str
    purpose: str
    url: str
    portal: str


@options.command("receiver urls", "receiver urls --json | jq -r .url")
@options.config
@options.as_json
def urls(config: Path | None, as_json: bool) -> None:
    """Print the callback URLs to paste into the providers' portals, and where each goes. They hold the secrets."""
    settings = options.settings(config, secrets=True)
    if as_json:
        for url in every(settings):
            show.json_line(url._asdict())
    else:
        print_all(settings)
    if not settings.server.public_url:
        click.echo("server.public_url is not set: these URLs hold on this machine only.", err=True)


def every(settings: Settings) -> Iterator[Url]:
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


def print_all(settings: Settings) -> None:
    """Print them for people, source by source."""
    if any(source.secrets for source in settings.sources.values()):
        click.echo("Paste these in the providers' portals. They contain your secrets; treat them like passwords:\n")
    for source in settings.sources.values():
        click.echo(f"{source.name}")
        for url in every(settings):
            if url.source == source.name:
                click.echo(f"  {url.purpose}\n    {url.url}\n    {url.portal}".rstrip())
        if source.secrets:
            click.echo("  (mixed up? No harm: with the right secret each URL takes all of them.)")
        click.echo()
