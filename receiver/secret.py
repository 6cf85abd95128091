"""Secret: a string from the configuration that is never shown, read from where the configuration says."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import core_schema

PLACES = ("file", "env", "credential")


class Secret(str):
    """A secret's value: usable wherever a string is, masked in `repr` and in our logs.

    In the configuration it is a string, or a table with one of `file`, `env`, `credential`. It is read when the
    settings are validated with `{"secrets": True}` as context; otherwise the value is empty and nothing is read.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "***")
        )

    @classmethod
    def _validate(cls, given: Any, info: ValidationInfo) -> "Secret":
        if isinstance(given, cls):
            return given
        if not isinstance(given, str) and not _is_place(given):
            raise ValueError('expected a string, { file = "…" }, { env = "…" } or { credential = "…" }')
        context = info.context or {}
        if not context.get("secrets"):
            return cls("")
        return cls(given if isinstance(given, str) else _read(given, context.get("folder") or Path.cwd()))


def _is_place(given: Any) -> bool:
    return (
        isinstance(given, Mapping)
        and len(given) == 1
        and next(iter(given)) in PLACES
        and all(isinstance(value, str) and value for value in given.values())
    )


def _read(place: Mapping[str, str], folder: Path) -> str:
    """The text at a place, without trailing white space. Raises ValueError naming the place, never the text."""
    ((where, name),) = place.items()
    if where == "env":
        found = os.environ.get(name, "")
        if not found.strip():
            raise ValueError(f"the environment variable {name} is empty or not set")
        return found.rstrip()
    if where == "credential":
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise ValueError(
                f'credential "{name}": $CREDENTIALS_DIRECTORY is not set (systemd sets it: LoadCredential=)'
            )
        folder = Path(directory)
    path = folder / name
    try:
        text = path.read_text("utf-8").rstrip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "is not UTF-8 text"
        raise ValueError(f"cannot read {path}: {reason}") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text
