"""The contract suite is whole: no law is lost on its way to a database."""

import inspect
import pkgutil
from importlib import import_module

from . import contract, test_sqlite


def test_every_law_of_the_contract_is_bound() -> None:
    """A module that is not imported, or a name that two laws share, would take a law away without a word."""
    modules = [import_module(f"{contract.__name__}.{found.name}") for found in pkgutil.iter_modules(contract.__path__)]
    laws = [(name, law) for module in modules for name, law in inspect.getmembers(module, inspect.isfunction)]
    lost = [
        f"{law.__module__}.{name}"
        for name, law in laws
        if name.startswith("test_") and getattr(test_sqlite, name, None) is not law
    ]
    assert lost == []
