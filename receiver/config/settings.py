"""The sections of the configuration as models: every key, its default and what is wrong with a value."""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo

from receiver import units
from receiver.config.listen import Listen
from receiver.secret import Secret

NAME = re.compile(r"[a-z][a-z0-9-]*")
PATH_SECRET = re.compile(r"[A-Za-z0-9_-]{16,}")
SQLITE = "sqlite:///"
SHORTEST_KEEP = timedelta(days=7)

Network = IPv4Network | IPv6Network


def folder(info: ValidationInfo) -> Path:
    """The folder that relative paths count from: the configuration file's."""
    return Path((info.context or {}).get("folder") or Path.cwd())


def _path(given: Any, info: ValidationInfo) -> Path:
    if not isinstance(given, str) or not given:
        raise ValueError("expected a path")
    return folder(info) / given


def _listen(given: Any, info: ValidationInfo) -> Listen:
    return given if isinstance(given, Listen) else Listen.read(given, folder(info))


def _network(given: Any) -> Network:
    if isinstance(given, IPv4Network | IPv6Network):
        return given
    try:
        if not isinstance(given, str):
            raise ValueError
        return ip_network(given, strict=False)
    except ValueError:
        raise ValueError(f'expected an address or network such as "192.0.2.0/24", not {given!r}') from None


def _public_url(given: str) -> str:
    parts = urlsplit(given)
    if given and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise ValueError('expected a URL such as "https://sms.example.com"')
    return given.rstrip("/")


def _keep(given: timedelta) -> timedelta:
    if given < SHORTEST_KEEP:
        raise ValueError(
            "at least 7 days: providers repeat their callbacks for days, and repeats are told by what is kept"
        )
    return given


def _store_url(given: str, info: ValidationInfo) -> str:
    if given.startswith(("postgresql:", "postgres:")):
        return _postgres_url(given)
    path = given.removeprefix(SQLITE)
    if path == given or not path.strip("/") or ":memory:" in path or "?" in path:
        raise ValueError(
            'expected "sqlite:///receiver.db", with an absolute path "sqlite:////var/lib/receiver/receiver.db",'
            ' or "postgresql://user@host/database"'
        )
    return f"{SQLITE}{folder(info) / path}"


def _postgres_url(given: str) -> str:
    parts = urlsplit(given)
    keys = parse_qs(parts.query)
    if not parts.path.strip("/") and not keys.keys() & {"dbname", "database", "service"}:
        raise ValueError('names no database; expected "postgresql://user@host/database"')
    if not parts.netloc.rpartition("@")[2] and not keys.keys() & {"host", "service"}:
        raise ValueError(
            'names no host; expected "postgresql://user@host/database", or "…/database?host=/run/postgresql"'
        )
    return given


def _not_empty(given: Any) -> Any:
    if given == "":
        raise ValueError("is empty")
    return given


def _shaped(given: Any, info: ValidationInfo) -> Any:
    """Hold a path secret to its form; a place was not read yet, or `secrets` is off and nothing is."""
    read = isinstance(given, Secret)
    if (
        isinstance(given, str)
        and (not read or (info.context or {}).get("secrets"))
        and not PATH_SECRET.fullmatch(given)
    ):
        raise ValueError("a secret in a URL is 16 or more of A-Z a-z 0-9 _ -; receiver init makes good ones")
    return given


def _several(given: Any) -> Any:
    return [given] if isinstance(given, str | Mapping) else given


Duration = Annotated[timedelta, BeforeValidator(units.duration)]
Size = Annotated[int, BeforeValidator(units.size)]
PathSecret = Annotated[Secret, BeforeValidator(_shaped), AfterValidator(_shaped)]
Networks = tuple[Annotated[Network, PlainValidator(_network)], ...]
Address = Annotated[Listen, PlainValidator(_listen)]


class Section(BaseModel):
    """What the sections share: unknown keys are faults, and the docstrings of keys are their descriptions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )


class Server(Section):
    """[server]: where callbacks are taken, and who may look at us."""

    listen: Annotated[Address, AfterValidator(_not_empty)] = Listen("127.0.0.1:8080")
    """Where callbacks arrive: "host:port", "[::1]:8080" or "unix:/path". Sockets passed by systemd win."""
    admin_listen: Address = Listen("127.0.0.1:8081")
    """Where health and metrics are; "" turns it off."""
    admin_token: Annotated[Secret, BeforeValidator(_not_empty)] | None = None
    """What admin requests must carry; needed unless admin_listen is loopback, a unix socket or off."""
    trusted_proxies: Networks = (ip_network("127.0.0.1/32"), ip_network("::1/128"))
    """Proxies whose X-Forwarded-For is believed."""
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    """How providers reach us, for the URLs that are printed."""
    max_body: Annotated[Size, Field(ge=1)] = 64 * 1024
    """The largest body that is taken."""
    max_in_flight: Annotated[int, Field(ge=1)] = 1024
    """How many callbacks are answered at once; where there are more, a source that has its share hears 503."""


class Store(Section):
    """[store]: where events are kept, and for how long."""

    url: Annotated[str, AfterValidator(_store_url)] = "sqlite:///receiver.db"
    """The database: SQLite's file, a relative path counts from this file's folder; or "postgresql://user@host/database"."""
    keep: Annotated[Duration, AfterValidator(_keep)] = timedelta(days=90)
    """How long events, callbacks and attempts are kept; at least 7 days."""
    reserve: Size = 64 * 1024**2
    """The size of a file that is given up when the disk is full, so that there is room to prune; of SQLite alone."""

    @property
    def path(self) -> Path | None:
        """The database file, absolute; None on PostgreSQL."""
        path = self.url.removeprefix(SQLITE)
        return None if path == self.url else Path(path)

    @property
    def shown(self) -> str:
        """The same for people, without the user and password of a URL."""
        parts = urlsplit(self.url)
        return str(self.path or f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}")


class Log(Section):
    """[log]: the receiver's own log, on standard error."""

    format: Literal["auto", "console", "json", "logfmt"] = "auto"
    """auto: console on a terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important that is written."""
    reveal: bool = False
    """Whether numbers and texts are written whole."""


class Plugins(Section):
    """[plugins]: handlers of your own as files."""

    directory: Annotated[Path, BeforeValidator(_path)] | None = None
    """A folder of files with a handler each; a file's name without .py is the handler's."""


class Source(Section):
    """[sources.NAME]: one account at a provider. The provider adds keys of its own, which are in `adapter`."""

    name: str = Field(exclude=True)
    provider: str
    """The provider's name; `receiver providers` lists them."""
    secrets: Annotated[list[PathSecret], BeforeValidator(_several)] = []
    """What the callback URLs carry; several while one replaces another."""
    allow_from: Networks = ()
    """Addresses and networks that callbacks may come from; empty: any."""
    auth: Literal["none"] | None = None
    """"none": from anybody, but not through a proxy. Otherwise a secret, a signature or allow_from is needed."""
    rate_limit: Annotated[int, Field(ge=0)] = 0
    """How many callbacks a second are taken, the others hear 503 and come again; 0: any number."""
    mo_dedupe: Literal["unanswered", "off"] = "unanswered"
    """Whether an inbound message without id or time that we failed to answer is a repeat when it comes again."""
    adapter: Any = Field(exclude=True)


class Settings(BaseModel):
    """The whole configuration, validated. `handlers` are raw tables: only their own process imports their code."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    file: Path | None
    folder: Path
    """What relative paths count from."""
    trial: bool
    """Whether nothing is configured: loopback only, sources without secrets, handler `log`."""
    server: Server
    store: Store
    log: Log
    sources: dict[str, Source]
    handlers: dict[str, dict[str, Any]]
    plugins: Plugins
    origins: dict[tuple[str, ...], str] = {}
    """Which environment variable set a key."""
    literals: bool = False
    """Whether a source's secret stands in the file itself."""
    credentials: bool = False
    """Whether a secret is a systemd credential: then it can be read inside the unit only."""


SECTIONS: dict[str, type[Section]] = {"server": Server, "store": Store, "log": Log, "plugins": Plugins}
SOURCE_KEYS = frozenset(Source.model_fields) - {"name", "adapter"}
