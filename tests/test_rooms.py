"""The house keeps its shape: who may know whom, how large a module may be, and that it says what it is."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"receiver": ROOT / "receiver", "receiver.handlers": ROOT / "handlers"}
FOLDERS_OF_FILES = {"receiver.deploy", "receiver.deploy.systemd"}
"""What is installed with the modules and is none."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The first pattern that fits names a module's room; `*` stands for any depth.
ROOMS = {
    "face": ["receiver"],
    "nouns": [f"receiver.{name}" for name in ("callback", "errors", "events", "hiding", "numbers", "secret", "units")],
    "contracts": [
        "receiver.backoff",
        "receiver.handler",
        "receiver.providers",
        "receiver.store",
        "receiver.store.moving",
        "receiver.store.views",
        "receiver.*.base",
    ],
    "providers": ["receiver.providers.*"],
    "stores": ["receiver.store.*"],
    "handlers": ["receiver.handlers", "receiver.handlers.*"],
    "engine": [
        *(
            f"receiver.{name}"
            for name in ("web", "source", "reading", "peer", "journal", "metrics", "logs", "tracebacks")
        ),
        *(
            f"receiver.{name}"
            for name in ("dispatch", "dispatch.*", "perform", "pipe", "supervise", "chatter", "child")
        ),
        *(
            f"receiver.{name}"
            for name in ("notices", "fairness", "patience", "liveness", "drift", "systemd", "precedence", "retention")
        ),
    ],
    "edge": [
        *(f"receiver.{name}" for name in ("config", "config.*", "plugins", "dropin")),
        *(
            f"receiver.{name}"
            for name in (
                "app",
                "http",
                "exchange",
                "listening",
                "admin",
                "admin.*",
                "serving",
                "storing",
                "dispatching",
                "reloading",
                "worker",
            )
        ),
        *(f"receiver.{name}" for name in ("worker", "cli", "cli.*", "testing", "__main__")),
    ],
}
MAY_KNOW = {
    "face": {"nouns", "contracts"},
    "nouns": {"nouns"},
    "contracts": {"nouns", "contracts"},
    "providers": {"nouns", "contracts", "providers"},
    "stores": {"nouns", "contracts", "stores"},
    "handlers": {"face"},
    "engine": {"nouns", "contracts", "engine"},
    "edge": set(ROOMS),
}
OWN_CONTRACTS = {
    "providers": {"receiver.providers.base"},
    "stores": {"receiver.store.base", "receiver.store.moving", "receiver.store.views"},
}

# Who may know what is not ours; pydantic and structlog may be known everywhere.
OUTSIDE = {
    "aiohttp": ["receiver.handlers.forward", "receiver.cli.*"],
    "aiosmtplib": ["receiver.handlers.email", "receiver.cli.doctor.mail"],
    "aiosqlite": ["receiver.store.sqlite.*"],
    "asyncpg": ["receiver.store.postgres.*"],
    "click": ["receiver.cli", "receiver.cli.*"],
    "httptools": ["receiver.http"],
    "jinja2": ["receiver.handlers.email"],
    "msgspec": ["receiver.events", "receiver.providers.wire"],
    "prometheus_client": ["receiver.metrics", "receiver.admin.*"],
    "pydantic": ["*"],
    "pydantic_core": ["*"],
    "rich": ["receiver.cli.*"],
    "sqlite3": ["receiver.store.sqlite.*"],
    "standardwebhooks": ["receiver.handlers.forward"],
    "starlette": ["receiver.web", "receiver.app", "receiver.admin.*"],
    "structlog": ["*"],
    "uvicorn": ["receiver.http", "receiver.exchange"],
    "uvloop": ["receiver.cli.*"],
    "yarl": ["receiver.handlers.forward", "receiver.cli.*"],
}
COME_ALONG = {"pydantic_core": "pydantic", "yarl": "aiohttp"}
OPTIONAL = {"asyncpg": "postgres"}  # by the extra that brings it
NEVER_IMPORTED = {
    "tzdata",  # the zones of zoneinfo, for systems that have none
}

IMPURE = {
    *("asyncio", "http", "os", "pathlib", "random", "secrets", "socket", "ssl", "subprocess"),
    *("tempfile", "threading", "time", "uuid"),
}
IMPURE_CALLS = {"now", "utcnow", "today", "open"}

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
NOT_USED = {"helper", "helpers", "info", "manager", "obj", "payload", "service", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One module of ours, by what stands in it."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text())

    @property
    def room(self) -> str | None:
        fitting = (room for room, patterns in ROOMS.items() if fits(self.name, patterns))
        return next(fitting, None)

    @cached_property
    def imports(self) -> set[str]:
        """Every module it imports, wherever it does so."""
        return {name for node in ast.walk(self.tree) for name in imported(node)}

    @property
    def ours(self) -> set[str]:
        return {name for name in self.imports if name.split(".")[0] == "receiver"}

    @property
    def outside(self) -> set[str]:
        tops = {name.split(".")[0] for name in self.imports - self.ours}
        return {top for top in tops if top in OUTSIDE or top not in sys.stdlib_module_names}

    def all(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


def imported(node: ast.AST) -> Iterator[str]:
    """The modules a statement imports; what `from` takes is a module where there is one of that name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import in line {node.lineno}"
        for alias in node.names:
            deeper = f"{node.module}.{alias.name}"
            yield deeper if deeper in MODULES else str(node.module)


def found() -> Iterator[Module]:
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield Module(".".join([package, *parts]).removesuffix(".__init__"), path)


def fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


MODULES = {module.name: module for module in found()}


def in_room(room: str) -> list[Module]:
    return [module for module in MODULES.values() if module.room == room]


def test_every_module_has_a_room() -> None:
    assert [module.name for module in MODULES.values() if module.room is None] == []


def test_every_room_is_inhabited() -> None:
    patterns = [pattern for room in ROOMS.values() for pattern in room]
    assert [pattern for pattern in patterns if not any(fits(name, [pattern]) for name in MODULES)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_up_only(room: str) -> None:
    down = [
        f"{module.name} imports {name}"
        for module in in_room(room)
        for name in sorted(module.ours)
        if MODULES[name].room not in MAY_KNOW[room]
    ]
    assert down == []


@pytest.mark.parametrize("room", OWN_CONTRACTS)
def test_an_adapter_knows_no_contract_but_its_own(room: str) -> None:
    foreign = [
        f"{module.name} imports {name}"
        for module in in_room(room)
        for name in sorted(module.ours)
        if MODULES[name].room == "contracts"
        and name not in OWN_CONTRACTS[room]
        and MODULES[name].path.stem != "__init__"
    ]
    assert foreign == []


def test_no_imports_run_in_a_circle() -> None:
    try:
        TopologicalSorter({module.name: module.ours - {module.name} for module in MODULES.values()}).prepare()
    except CycleError as fault:
        pytest.fail(" → ".join(fault.args[1]))


def test_callbacks_in_and_events_out_never_meet() -> None:
    """Nor do they by a way around: all that one of them needs is free of the other."""
    assert not [name for name in needs("receiver.web") if fits(name, ["receiver.dispatch", "receiver.dispatch.*"])]
    dispatch = [module.name for module in MODULES.values() if fits(module.name, ["receiver.dispatch.*"])]
    assert not [name for name in dispatch if "receiver.web" in needs(name)]


def needs(name: str) -> set[str]:
    """All modules of ours that a module imports, and those that they import."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = MODULES[waiting.pop()].ours - seen
        seen |= new
        waiting += new
    return seen


def test_only_who_may_know_a_library_imports_it() -> None:
    strangers = [
        f"{module.name} imports {top}"
        for module in MODULES.values()
        for top in sorted(module.outside)
        if not fits(module.name, OUTSIDE.get(top, []))
    ]
    assert strangers == []


def test_every_library_that_is_imported_is_declared_and_every_declared_one_imported() -> None:
    used = {top for module in MODULES.values() for top in module.outside}
    needed = {COME_ALONG.get(top, top) for top in used if top not in sys.stdlib_module_names}
    assert names_of(PROJECT["project"]["dependencies"]) == (needed - set(OPTIONAL)) | NEVER_IMPORTED
    extras = PROJECT["project"]["optional-dependencies"]
    assert all(names_of(extras[extra]) == {name} for name, extra in OPTIONAL.items())
    assert set(OPTIONAL) <= needed


def names_of(requirements: Iterable[str]) -> set[str]:
    """As they are imported."""
    return {line.partition(">")[0].replace("-", "_") for line in requirements}


def test_one_store_knows_nothing_of_another() -> None:
    """What they share is no database's, and stands beside them."""
    stores = ("sqlite", "postgres")
    for store in stores:
        others = [f"receiver.store.{other}*" for other in stores if other != store]
        mine = [name for name in MODULES if fits(name, [f"receiver.store.{store}", f"receiver.store.{store}.*"])]
        assert mine
        assert [(name, one) for name in mine for one in needs(name) if fits(one, others)] == []
    shared = [name for name in MODULES if name.startswith("receiver.store.") and name.count(".") == 2]
    databases = [name for name in shared if name.rpartition(".")[2] not in stores]
    assert [
        name for name in databases for one in needs(name) if fits(one, [f"receiver.store.{s}*" for s in stores])
    ] == []


def test_a_provider_is_a_pure_function() -> None:
    impure = [
        f"{module.name} imports {name}"
        for module in in_room("providers")
        for name in module.imports - module.ours
        if name.split(".")[0] in IMPURE or name == "urllib.request"
    ]
    for module in in_room("providers"):
        for node in module.all(ast.Call):
            assert isinstance(node, ast.Call)
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE_CALLS:
                impure.append(f"{module.name}:{node.lineno} calls {called}")
    assert impure == []


def test_who_answers_callbacks_loads_no_handler() -> None:
    """What a handler brings along would be in the process that must not fail."""
    script = "import sys, receiver.serving; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "receiver.web" in loaded
    assert [name for name in loaded if fits(name, ["receiver.handlers*", "aiohttp", "aiosmtplib", "jinja2"])] == []


def test_every_module_says_what_it_is_in_its_first_line() -> None:
    silent = []
    for module in MODULES.values():
        first = (ast.get_docstring(module.tree) or "").partition("\n")[0]
        if not first.endswith((".", ".)")):
            silent.append(module.name)
    assert silent == []


def test_no_module_is_too_long() -> None:
    sizes = {module.name: len(module.path.read_text().splitlines()) for module in MODULES.values()}
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    sizes = {
        f"{module.name}:{node.lineno}": int(node.end_lineno or 0) - node.lineno + 1
        for module in MODULES.values()
        for node in module.all(ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, Function)
    }
    assert {place: lines for place, lines in sizes.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_nothing_is_named_by_a_word_that_says_nothing() -> None:
    vague = [
        f"{module.name}:{node.lineno} {node.name}"
        for module in MODULES.values()
        for node in module.all(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(node, Function | ast.ClassDef)
        and (node.name.lower().strip("_") in NOT_USED or node.name.lstrip("_").startswith("process_"))
    ]
    assert vague + [name for name in MODULES if name.rpartition(".")[2] in NOT_USED] == []


def test_every_folder_of_modules_is_a_package_of_the_distribution() -> None:
    packages = {module.name for module in MODULES.values() if module.path.stem == "__init__"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages | FOLDERS_OF_FILES
