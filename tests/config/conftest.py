"""What the tests of the configuration share: an empty working directory."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without a system-wide configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("receiver.config.reading.SYSTEM_FILE", tmp_path / "etc.toml")
    return tmp_path
