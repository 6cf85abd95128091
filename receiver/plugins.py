"""Finds providers and handlers by entry-point name, dotted path or file, and says what exists where one is missing."""

import difflib
import importlib
import importlib.metadata
import inspect
import re
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from receiver import dropin
from receiver.errors import PluginFault
from receiver.handler import BaseHandler
from receiver.providers.base import Provider, ProviderSettings

PROVIDERS, HANDLERS = "receiver.providers", "receiver.handlers"
STEM = re.compile(r"[A-Za-z][\w-]*")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)*:\w+")


class Place(NamedTuple):
    """Where a plug-in is: a `module:Class`, or a file; and the words in which people are told."""

    target: str | Path
    where: str


def provider_class(name: str) -> type[Provider]:
    """The provider of this name, or at this `module:Class`. Raises PluginFault."""
    place = _find("provider", name, _installed(PROVIDERS))
    found = _load("provider", name, place)
    if not (inspect.isclass(found) and issubclass(getattr(found, "Settings", object), ProviderSettings)):
        raise PluginFault(f'provider "{name}" ({place.where}) is no provider: it has no Settings of ProviderSettings')
    return cast("type[Provider]", found)


def providers() -> dict[str, str]:
    """All installed providers, and from where each comes."""
    return {name: " and ".join(place.where for place in places) for name, places in _installed(PROVIDERS).items()}


def handler_class(use: str, directory: Path | None) -> type[BaseHandler]:
    """The handler that `use` names, with async methods: plain ones run in threads. Raises PluginFault."""
    place = find_handler(use, directory)
    found = _load("handler", use, place)
    fault = dropin.wrong(found)
    if fault:
        raise PluginFault(f'handler "{use}" ({place.where}): {fault}')
    return dropin.threaded(found)


def handlers(directory: Path | None) -> dict[str, str]:
    """All handlers that can be used by name, and from where each comes."""
    return {name: " and ".join(place.where for place in places) for name, places in _handlers(directory).items()}


def find_handler(use: str, directory: Path | None) -> Place:
    """Where the handler that `use` names is; imports nothing. Raises PluginFault where it is nowhere, or twice."""
    return _find("handler", use, _handlers(directory))


def is_builtin(use: str, directory: Path | None) -> bool:
    """Whether `use` names a handler that comes with the receiver. Raises PluginFault."""
    target = find_handler(use, directory).target
    return isinstance(target, str) and target.startswith(f"{HANDLERS}.")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a fault's line: `; did you mean …?`, or nothing where no known name is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _installed(group: str) -> dict[str, list[Place]]:
    places: dict[str, dict[str, Place]] = defaultdict(dict)
    for entry in importlib.metadata.entry_points(group=group):
        distribution = entry.dist.name if entry.dist else "unknown distribution"
        places[entry.name][entry.value] = Place(entry.value, f"{entry.value} of {distribution}")
    return {name: list(there.values()) for name, there in sorted(places.items())}


def _handlers(directory: Path | None) -> dict[str, list[Place]]:
    places = _installed(HANDLERS)
    for path in sorted(directory.glob("*.py")) if directory else ():
        if STEM.fullmatch(path.stem):
            places.setdefault(path.stem, []).append(Place(path, str(path)))
    return places


def _find(kind: str, name: str, known: Mapping[str, list[Place]]) -> Place:
    if DOTTED.fullmatch(name):
        return Place(name, name)
    places = known.get(name, [])
    if not places:
        raise PluginFault(f'no {kind} "{name}"; known: {_listed(known)}{_hint(name, known)}')
    if len(places) > 1:
        both = " and ".join(place.where for place in places)
        raise PluginFault(f'{kind} "{name}" is there {len(places)} times: {both}; rename or remove one')
    return places[0]


def _listed(known: Mapping[str, list[Place]]) -> str:
    """The names that exist: the installed ones, then those of each folder."""
    folders: dict[str, list[str]] = {}
    for name, (place, *_) in known.items():
        folders.setdefault(f"in {place.target.parent}: " if isinstance(place.target, Path) else "", []).append(name)
    return "; ".join(f"{folder}{', '.join(names)}" for folder, names in sorted(folders.items())) or "none"


def _hint(name: str, known: Iterable[str]) -> str:
    module, dot, attribute = name.rpartition(".")
    return f"; did you mean {module}:{attribute}?" if dot and module else did_you_mean(name, known)


def _load(kind: str, name: str, place: Place) -> Any:
    try:
        if isinstance(place.target, Path):
            return dropin.load(place.target)
        module, _, attribute = place.target.partition(":")
        imported = _module(kind, name, module)
    except PluginFault:
        raise
    except (Exception, SystemExit) as fault:
        raise _broken(kind, name, place, fault) from fault
    if not hasattr(imported, attribute):
        hint = did_you_mean(attribute, vars(imported))
        raise PluginFault(f'{kind} "{name}": {imported.__name__} holds no {attribute}{hint}')
    return getattr(imported, attribute)


def _module(kind: str, name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as fault:
        # Told apart: the plug-in itself is not there, or something it imports is not.
        if fault.name and (module == fault.name or module.startswith(f"{fault.name}.")):
            raise PluginFault(f'{kind} "{name}": there is no module {fault.name}; is its package installed?') from None
        raise


def _broken(kind: str, name: str, place: Place, fault: BaseException) -> PluginFault:
    what = f"{type(fault).__name__}: {str(fault).strip() or 'no message'}"
    return PluginFault(f'{kind} "{name}" ({place.where}) cannot be imported: {what} at {_line(fault)}')


def _line(fault: BaseException) -> str:
    """file:line of the plug-in's code that failed: the last frame that is not the import system's."""
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{fault.filename}:{fault.lineno}"
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if "importlib" not in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}"
