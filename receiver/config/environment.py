"""RECEIVER_SECTION__KEY: keys of the configuration that the environment sets."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from receiver.config.faults import Faults, keys
from receiver.config.settings import SECTIONS, SOURCE_KEYS
from receiver.handler import HandlerSettings
from receiver.plugins import did_you_mean

PREFIX = "RECEIVER_"
NAMED = ("sources", "handlers")
"""Sections whose tables have names of people's choice."""


def variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that set keys. Others that begin with RECEIVER_ may be anybody's; Kubernetes makes some."""
    return {name: value for name, value in sorted(env.items()) if name.startswith(PREFIX) and "__" in name}


def apply(tables: dict[str, Any], env: Mapping[str, str], faults: Faults, origins: dict[tuple[str, ...], str]) -> None:
    """Write what the environment says into the tables of the file, and who said it into `origins`."""
    for variable, value in variables(env).items():
        path = _path(variable)
        if path is None:
            # Compared without the prefix, which would make everything look alike.
            close = did_you_mean(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in _names(tables)])
            faults.append(f"{variable}: unknown key{close.replace('mean ', f'mean {PREFIX}')}")
            continue
        origins[path] = variable
        table = tables
        for part in path[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[path[-1]] = _value(value)
    _check_single_underscores(tables, env, faults)


def _path(variable: str) -> tuple[str, ...] | None:
    """The keys a variable names; None where there is no such key."""
    section, *rest = variable.removeprefix(PREFIX).lower().split("__")
    if not all(rest):
        return None
    if section in SECTIONS:
        return (section, *rest) if rest[0] in SECTIONS[section].model_fields else None
    if section not in NAMED:
        return None
    # A name has no underscore, so the way back from RECEIVER_HANDLERS__ON_CALL is plain.
    return (section, rest[0].replace("_", "-"), *rest[1:])


def _value(text: str) -> Any:
    """A list or table from JSON; anything else is the text, which the key's own type reads."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _check_single_underscores(tables: Mapping[str, Any], env: Mapping[str, str], faults: Faults) -> None:
    meant = {name.replace("__", "_"): name for name in _names(tables)}
    for variable in sorted(env):
        if variable in meant and "__" not in variable:
            faults.append(f"{variable}: unknown key; did you mean {meant[variable]}?")


def _names(tables: Mapping[str, Any]) -> Iterator[str]:
    """The variables there could be, but for keys that only a handler knows."""
    for section, model in SECTIONS.items():
        yield from (_variable(section, key) for key in model.model_fields)
    for section, known in zip(NAMED, (SOURCE_KEYS, keys(HandlerSettings)), strict=True):
        given = tables.get(section)
        for name, table in given.items() if isinstance(given, dict) else ():
            own = table if isinstance(table, dict) else {}
            yield from (_variable(section, name, key) for key in {*known, *own})


def _variable(*path: str) -> str:
    return PREFIX + "__".join(path).replace("-", "_").upper()
