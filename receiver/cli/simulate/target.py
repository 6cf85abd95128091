"""Where made-up callbacks are sent: from `--url`, or from the configuration with its secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from receiver.errors import ConfigFault

if TYPE_CHECKING:
    from receiver.config import Settings, Source

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  a listener on all addresses is reached on loopback


@dataclass(frozen=True)
class Target:
    """A source's callback URLs. What is shown to people never holds the secret."""

    base: str
    source: str
    secret: str = ""
    socket: Path | None = None

    def url(self, endpoint: str) -> str:
        """The callback URL of an endpoint, with the secret."""
        return "/".join(filter(None, (self.base, "in", self.source, endpoint, self.secret)))

    def __str__(self) -> str:
        return str(self.socket or self.base)


def from_url(url: str, provider: str) -> Target:
    """The target of a URL that holds everything; of a base URL: the provider's name as source, no secret."""
    base, found, path = _split(url)
    if not found:
        return Target(base, provider)
    source, _endpoint, secret = (*path.split("/"), "", "", "")[:3]
    return Target(base, source or provider, secret)


def is_whole(url: str) -> bool:
    """Whether a URL names a source."""
    return bool(_split(url)[1])


def _split(url: str) -> tuple[str, str, str]:
    """What stands before and behind `/in/`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.BadParameter("expected a URL such as http://127.0.0.1:8080", param_hint="--url")
    before, found, path = f"{parts.path}/".partition("/in/")
    return f"{parts.scheme}://{parts.netloc}{before if found else parts.path.rstrip('/')}", found, path.strip("/")


def from_settings(settings: "Settings", wanted: str, url: str | None) -> Target:
    """The target of a provider, or of a source by its name, in the configuration; at `url` where one is given."""
    source = _source(settings.sources, wanted)
    secret = str(source.secrets[0]) if source.secrets else ""
    if url:
        return Target(_split(url)[0], source.name, secret)
    listen = settings.server.listen
    if listen.path:
        return Target("http://receiver", source.name, secret, socket=listen.path)
    host = EVERYWHERE.get(listen.host, listen.host)
    return Target(f"http://{f'[{host}]' if ':' in host else host}:{listen.port}", source.name, secret)


def _source(sources: Mapping[str, "Source"], wanted: str) -> "Source":
    if wanted in sources:
        return sources[wanted]
    for source in sources.values():
        if source.provider == wanted:
            return source
    raise ConfigFault(f'sources: none has provider = "{wanted}"; there are: {", ".join(sources) or "none"}')
