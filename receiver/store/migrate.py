"""Numbered migrations: SQL files, applied in order, each in one transaction; a schema newer than known is refused."""

import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_FILE = re.compile(r"-- file: (\w+)")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema. `file` says which of a store's files it belongs to."""

    number: int
    name: str
    file: str
    sql: str


def migrations(engine: str, file: str) -> list[Migration]:
    """The migrations of an engine ("sqlite") for one of its files, in order."""
    found = [_read(path.name, path.read_text("utf-8")) for path in _folder(engine) if _NAME.fullmatch(path.name)]
    return sorted((step for step in found if step.file == file), key=lambda step: step.number)


def missing(engine: str, file: str, version: int) -> list[Migration]:
    """The migrations that a schema of this version lacks."""
    return [step for step in migrations(engine, file) if step.number > version]


def newest(engine: str, file: str) -> int:
    """The version of the schema that this release writes."""
    return migrations(engine, file)[-1].number


def _folder(engine: str) -> list[Traversable]:
    return list((files("receiver.store") / "migrations" / engine).iterdir())


def _read(name: str, sql: str) -> Migration:
    match, file = _NAME.fullmatch(name), _FILE.match(sql)
    if match is None or file is None:
        raise ValueError(f"{name}: a migration is named NNNN_name.sql and begins with `-- file: …`")
    return Migration(int(match[1]), match[2], file[1], sql)
