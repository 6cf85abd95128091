"""Finding, reading and validating the configuration file."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from receiver import plugins
from receiver.config import environment
from receiver.config.faults import Faults, keys
from receiver.config.handlers import check_table
from receiver.config.settings import NAME, SECTIONS, SOURCE_KEYS, Log, Plugins, Section, Server, Settings, Source, Store
from receiver.config.sources import check_reach, check_trial
from receiver.errors import ConfigFault, PluginFault

SYSTEM_FILE = Path("/etc/receiver/config.toml")
LOCAL_FILE = Path("receiver.toml")
TRIAL_SOURCES: dict[str, Any] = {"spryng": {"provider": "spryng"}, "bulkvs": {"provider": "bulkvs"}}
TRIAL_HANDLERS: dict[str, Any] = {"log": {"use": "log"}}
OTHERS_MAY_WRITE = 0o002

Model = TypeVar("Model", bound=Section)


class Examined(NamedTuple):
    """A configuration with the faults in it; where there are any, defaults stand for what could not be read."""

    settings: Settings
    faults: list[str]


def load(path: Path | None = None, *, secrets: bool = False, env: Mapping[str, str] = os.environ) -> Settings:
    """The configuration, validated; secrets are read only where `secrets` says so.

    Without any file, and without sources in the environment, it is the trial: loopback, sources without secrets, the
    handler `log`. No handler's code is imported. Raises ConfigFault with every fault, one line each.
    """
    settings, faults = examine(path, secrets=secrets, env=env)
    if faults:
        raise ConfigFault(*faults)
    return settings


def examine(path: Path | None = None, *, secrets: bool = False, env: Mapping[str, str] = os.environ) -> Examined:
    """As `load`, but with the faults beside what could be read. Raises ConfigFault where the file is no TOML."""
    file = find(path, env)
    tables = _read(file) if file else {}
    origins: dict[tuple[str, ...], str] = {}
    faults = Faults(file, origins)
    environment.apply(tables, env, faults, origins)
    trial = file is None and not tables.get("sources")
    if trial:
        tables["sources"] = TRIAL_SOURCES
        tables.setdefault("handlers", TRIAL_HANDLERS)
    folder = file.parent if file else Path.cwd()
    reading = _Reading(tables, faults, {"secrets": secrets, "folder": folder})
    settings = reading.settings(file=file, folder=folder, trial=trial, origins=origins)
    return Examined(settings, list(faults))


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read, absolute; None where none is named and none is in its place. Raises ConfigFault."""
    named = path or (Path(env["RECEIVER_CONFIG"]) if env.get("RECEIVER_CONFIG") else None)
    if named:
        if not named.exists() or named.is_dir():
            by = "" if path else ", named by $RECEIVER_CONFIG"
            raise ConfigFault(f"{named}: there is no such file{by}")
        return named.absolute()
    return next((place.absolute() for place in (LOCAL_FILE, SYSTEM_FILE) if place.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_mode & OTHERS_MAY_WRITE:
            raise ConfigFault(f"{file}: others may write this file; chmod o-w {file}")
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as fault:
        raise ConfigFault(f"{file}: cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise ConfigFault(f"{file}: line {line}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as fault:
        raise ConfigFault(f"{file}: {_located(str(fault))}") from None


def _located(message: str) -> str:
    """ "Expected … (at line 3, column 5)", as tomllib says it, with the place in front."""
    match = re.fullmatch(r"(?s)(.*) \(at (line \d+, column \d+|end of document)\)", message)
    return f"{match[2]}: {match[1]}" if match else message


class _Reading:
    """Tables on their way to Settings."""

    def __init__(self, tables: dict[str, Any], faults: Faults, context: dict[str, Any]) -> None:
        self.tables = tables
        self.faults = faults
        self.context = context

    def settings(
        self, *, file: Path | None, folder: Path, trial: bool, origins: dict[tuple[str, ...], str]
    ) -> Settings:
        for section in self.tables.keys() - SECTIONS.keys() - set(environment.NAMED):
            known = [*SECTIONS, *environment.NAMED]
            self.faults.add((section,), f"unknown key{plugins.did_you_mean(section, known)}")
        sources = {name: source for name in self._names("sources") if (source := self._source(name))}
        settings = Settings(
            file=file,
            folder=folder,
            trial=trial,
            server=self._section("server", Server),
            store=self._section("store", Store),
            log=self._section("log", Log),
            sources=sources,
            handlers={name: self._table("handlers", name) for name in self._names("handlers")},
            plugins=self._plugins(),
            origins=origins,
            literals=self._has_literals(),
            credentials=_has_credential(self.tables),
        )
        self._check(settings)
        return settings

    def _has_literals(self) -> bool:
        written = [
            self.tables[section][name].get("secrets") for section in ("sources",) for name in self._names(section)
        ]
        return any(
            isinstance(secret, str) for given in written for secret in (given if isinstance(given, list) else [given])
        )

    def _check(self, settings: Settings) -> None:
        if settings.trial:
            check_trial(settings, self.faults)
        else:
            check_reach(settings, self.faults)
        known = self._names("sources")
        for name, table in settings.handlers.items():
            check_table(name, table, settings.plugins.directory, known, self.faults)

    def _section(self, section: str, model: type[Model]) -> Model:
        given = self.tables.get(section, {})
        try:
            return model.model_validate(given, context=self.context)
        except ValidationError as fault:
            self.faults.add_all((section,), fault, given, keys(model))
            return model.model_validate({}, context=self.context)

    def _plugins(self) -> Plugins:
        section = self._section("plugins", Plugins)
        directory = section.directory
        if directory is None:
            return section
        if not directory.is_dir():
            self.faults.add(("plugins", "directory"), f"there is no folder {directory}")
        elif directory.stat().st_mode & OTHERS_MAY_WRITE:
            self.faults.add(("plugins", "directory"), f"others may write {directory}; chmod o-w {directory}")
        else:
            return section
        return Plugins()

    def _names(self, section: str) -> list[str]:
        """The names of the tables in a section, those that are no names or no tables apart."""
        given = self.tables.get(section, {})
        if not isinstance(given, dict):
            self.faults.add((section,), f"expected tables: [{section}.NAME]")
            return []
        for name, table in given.items():
            if not NAME.fullmatch(name):
                self.faults.add((section, name), "a name is made of a-z, 0-9 and -, and begins with a letter")
            if not isinstance(table, dict):
                self.faults.add((section, name), f"expected a table: [{section}.{name}]")
        return [name for name, table in given.items() if NAME.fullmatch(name) and isinstance(table, dict)]

    def _table(self, section: str, name: str) -> dict[str, Any]:
        return dict(self.tables[section][name])

    def _source(self, name: str) -> Source | None:
        table = self._table("sources", name)
        ours = {key: value for key, value in table.items() if key in SOURCE_KEYS}
        theirs = {key: value for key, value in table.items() if key not in SOURCE_KEYS}
        adapter = self._adapter(name, table.get("provider"), theirs)
        try:
            return Source.model_validate({**ours, "name": name, "adapter": adapter}, context=self.context)
        except ValidationError as fault:
            self.faults.add_all(("sources", name), fault, table, SOURCE_KEYS)
            return None

    def _adapter(self, name: str, provider: Any, table: dict[str, Any]) -> Any:
        if not isinstance(provider, str):
            return None
        try:
            model = plugins.provider_class(provider).Settings
            return model.model_validate(table, context=self.context)
        except PluginFault as fault:
            self.faults.add(("sources", name, "provider"), str(fault))
        except ValidationError as fault:
            self.faults.add_all(("sources", name), fault, table, [*SOURCE_KEYS, *keys(model)])
        return None


def _has_credential(given: Any) -> bool:
    if isinstance(given, dict):
        return given.keys() == {"credential"} or any(map(_has_credential, given.values()))
    return isinstance(given, list) and any(map(_has_credential, given))
