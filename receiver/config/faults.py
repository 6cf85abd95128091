"""Faults as lines for people: `FILE: key.path: what is wrong; did you mean …`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from receiver.plugins import did_you_mean

Origins = Mapping[tuple[str, ...], str]


class Faults(list[str]):
    """The faults found so far. A fault of a key that the environment set names the variable instead of the file."""

    def __init__(self, file: Path | None, origins: Origins) -> None:
        super().__init__()
        self._file = str(file) if file else "environment"
        self._origins = origins

    def add(self, path: Sequence[str | int], what: str) -> None:
        """Add a fault, once."""
        names = tuple(part for part in path if isinstance(part, str))
        line = f"{self._where(names)}: {_dotted(path)}: {what}"
        if line not in self:
            self.append(line)

    def add_all(self, path: tuple[str, ...], fault: ValidationError, given: Any, known: Iterable[str]) -> None:
        """Add what pydantic found in the table at `path`; `known` are its keys."""
        texts: dict[tuple[str | int, ...], list[str]] = {}
        for error in fault.errors(include_url=False):
            here = _existing(error["loc"], given)
            hint = known if len(error["loc"]) == 1 else ()
            texts.setdefault(here, []).append(_words(dict(error), hint))
        for here, said in texts.items():
            self.add((*path, *here), ", or ".join(dict.fromkeys(said)))

    def _where(self, names: tuple[str, ...]) -> str:
        for length in range(len(names), 0, -1):
            if variable := self._origins.get(names[:length]):
                return variable
        return self._file


def keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model as they are written in the file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _existing(path: tuple[str | int, ...], given: Any) -> tuple[str | int, ...]:
    """The part of pydantic's path that is in the file: it also names branches of a union, which people never wrote."""
    for depth, part in enumerate(path):
        inside = isinstance(given, Mapping) and part in given
        listed = isinstance(given, list) and isinstance(part, int) and part < len(given)
        if not inside and not listed:
            missing = isinstance(given, Mapping) and depth == len(path) - 1
            return path[: depth + missing]
        given = given[part]
    return path


def _words(error: dict[str, Any], known: Iterable[str]) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key{did_you_mean(str(error['loc'][-1]), known)}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            values = re.findall("'([^']*)'", context["expected"])
            return f"expected {_listed(values)}{did_you_mean(str(error['input']), values)}"
        case "list_type" | "tuple_type":
            return 'expected a list; in the environment as JSON: ["…"]'
        case "model_type" | "dict_type":
            return "expected a table; in the environment as JSON"
        case _:
            message: str = error["msg"].replace("Input should be", "expected")
            return message[:1].lower() + message[1:]


def _listed(values: Sequence[str]) -> str:
    *others, last = (f'"{value}"' for value in values)
    return f"{', '.join(others)} or {last}" if others else last


def _dotted(path: Sequence[str | int]) -> str:
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}"
    return written.removeprefix(".")
