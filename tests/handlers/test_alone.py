"""Every built-in handler works when its file is copied alone, under another name, into a drop-in folder."""

import ast
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import receiver.handlers
from http_target import listening

import receiver
from receiver import Attempt, DeliveryReport

pytestmark = pytest.mark.anyio

FOLDER = Path(str(receiver.handlers.__file__)).parent
BUILT_IN = ["email", "forward", "log"]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a built-in handler's file as a drop-in of another name."""

    def load(name: str) -> ModuleType:
        copied = shutil.copy(FOLDER / f"{name}.py", tmp_path / f"my_{name}.py")
        spec = importlib.util.spec_from_file_location(f"receiver_dropin.my_{name}", copied)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_built_in_handlers_are_these() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__") == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_handler_imports_only_the_public_face(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.level or node.module)]
    ours = [node for node in imported if node.level or str(node.module).split(".")[0] == "receiver"]
    assert [node.module for node in ours] == ["receiver"]
    assert {alias.name for node in ours for alias in node.names} <= {*receiver.__all__, "__version__"}


async def test_log_works_alone(alone: Any, opened: Any, dlr: DeliveryReport, attempt: Attempt, tmp_path: Path) -> None:
    await (await opened(alone("log").Log, file="events.log")).handle(dlr, attempt)
    assert dlr.id in (tmp_path / "events.log").read_text()


async def test_forward_works_alone(alone: Any, opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(b"HTTP/1.1 204 No Content\r\n\r\n") as target:
        assert await (await opened(alone("forward").Forward, url=target.url)).handle(dlr, attempt) == "204"


async def test_email_works_alone(alone: Any, opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    module = alone("email")
    keys = {"smtp": {"host": "127.0.0.1", "port": 9, "tls": "none"}, "from": "a@example.com", "to": ["b@example.com"]}
    handler = await opened(module.Email, **keys)
    assert handler._mail([dlr], attempt)["Subject"] == "[receiver] delivered to +31*******78: order-42"
    assert isinstance((await handler.handle_batch([dlr], attempt))[dlr.id], receiver.Unavailable)
