"""Configuration files of tests: written, loaded, and the faults found in them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from receiver import config
from receiver.config import Settings
from receiver.errors import ConfigFault

SECRET = "abcdefghijklmnop"
SOURCE = f'[sources.spryng]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\n'


def write(text: str, path: str = "receiver.toml") -> Path:
    file = Path(path).absolute()
    file.write_text(text)
    return file


def load(text: str, *, secrets: bool = True, env: Mapping[str, str] | None = None) -> Settings:
    return config.load(write(text), secrets=secrets, env=env or {})


def faults(text: str, *, secrets: bool = True, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The faults of a file, without the file's name where it is that file's."""
    with pytest.raises(ConfigFault) as caught:
        load(text, secrets=secrets, env=env)
    return tuple(fault.removeprefix(f"{Path('receiver.toml').absolute()}: ") for fault in caught.value.faults)
