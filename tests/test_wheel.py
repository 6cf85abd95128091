"""What is built can be installed elsewhere: everything is in it, and every entry point loads."""

import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
LOAD_ALL = """
from importlib.metadata import entry_points
for group in ("receiver.providers", "receiver.handlers", "console_scripts"):
    for entry in entry_points(group=group):
        if entry.dist.name == "sms-receiver":
            entry.load()
            print(entry.name)
"""
BESIDE = {"receiver/handlers": "handlers", "receiver/deploy": "deploy", "receiver/deploy/systemd": "systemd"}
"""What is installed inside the package → where it stands in the repository."""
ENTRIES = {"spryng", "bulkvs", "log", "forward", "email", "receiver"}

Install = Callable[[Path, Path], tuple[list[str | Path], dict[str, str]]]

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def modules() -> set[str]:
    """What has to be in the wheel, as it is named there."""
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "receiver").rglob("*") if path.suffix in (".py", ".sql")}
    beside = {f"{there}/{path.name}" for there, here in BESIDE.items() for path in (ROOT / here).glob("*.*")}
    return ours | beside | {"receiver/py.typed", "receiver/deploy/Caddyfile"}


def test_the_wheel_has_every_module_and_nothing_else(built: dict[str, Path]) -> None:
    with ZipFile(built["wheel"]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == modules()
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_sdist_has_what_the_wheel_is_made_of(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    folders = sorted(BESIDE.items(), reverse=True)
    sources = {next((name.replace(a, b) for a, b in folders if name.startswith(f"{a}/")), name) for name in modules()}
    assert sources | {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_installed_elsewhere_every_entry_point_loads(built: dict[str, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", built["wheel"]], check=True)
    loaded = subprocess.run([python, "-c", LOAD_ALL], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert set(loaded.stdout.split()) == ENTRIES
    told = subprocess.run(
        [tmp_path / "venv/bin/receiver", "providers"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "spryng" in told.stdout


def by_uv(wheel: Path, folder: Path) -> tuple[list[str | Path], dict[str, str]]:
    return ["uv", "tool", "install", "--quiet", wheel], {
        "UV_TOOL_DIR": f"{folder}/tools",
        "UV_TOOL_BIN_DIR": f"{folder}/bin",
    }


def by_pipx(wheel: Path, folder: Path) -> tuple[list[str | Path], dict[str, str]]:
    return ["pipx", "install", "--quiet", wheel], {"PIPX_HOME": f"{folder}/tools", "PIPX_BIN_DIR": f"{folder}/bin"}


@pytest.mark.parametrize(("tool", "install"), [("uv", by_uv), ("pipx", by_pipx)])
def test_installed_as_a_tool_it_works_from_end_to_end(
    built: dict[str, Path], tmp_path: Path, tool: str, install: Install
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    subprocess.run([tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", tool], check=True)
    (name, *arguments), env = install(built["wheel"], tmp_path)
    subprocess.run([tmp_path / "venv/bin" / name, *arguments], env={**os.environ, **env}, check=True)
    played = subprocess.run(
        [tmp_path / "bin/receiver", "demo", "--seconds", "2"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "All as promised." in played.stdout
