"""The contract suite is whole: no law is lost on its way to a database."""

import inspect
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

from receiver.store import migrate

from . import contract, test_postgres, test_sqlite

NOT_OURS = {test_postgres: {"backing_up"}}
"""Laws that a database does not bind: PostgreSQL has backups of its own."""


@pytest.mark.parametrize("database", [test_sqlite, test_postgres], ids=["sqlite", "postgres"])
def test_every_law_of_the_contract_is_bound(database: ModuleType) -> None:
    """A module that is not imported, or a name that two laws share, would take a law away without a word."""
    names = {found.name for found in pkgutil.iter_modules(contract.__path__)} - NOT_OURS.get(database, set())
    modules = [import_module(f"{contract.__name__}.{name}") for name in names]
    laws = [(name, law) for module in modules for name, law in inspect.getmembers(module, inspect.isfunction)]
    lost = [
        f"{law.__module__}.{name}"
        for name, law in laws
        if name.startswith("test_") and getattr(database, name, None) is not law
    ]
    assert lost == []


def test_the_databases_have_the_same_migrations_by_number_and_name() -> None:
    """A missing port shows in a directory listing."""
    sqlite, postgres = (
        [(step.number, step.name, file) for file in ("log", "dispatch") for step in migrate.migrations(engine, file)]
        for engine in ("sqlite", "postgres")
    )
    assert sqlite == postgres
