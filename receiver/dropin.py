"""Drop-in files: the one handler a file holds, a class or a function, and plain functions made to run in threads."""

import asyncio
import contextvars
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from receiver.errors import PluginFault
from receiver.events import Event
from receiver.handler import Attempt, BaseHandler, HandlerSettings

PACKAGE = "receiver_dropin"
FORMS = "handle(event, attempt) or handle(event, attempt, settings)"
METHODS = ("open", "handle", "handle_batch", "close")


def load(path: Path) -> type[BaseHandler]:
    """The handler of a file. Its folder is never on sys.path: an `email.py` there would break the standard library.

    Raises PluginFault where the file holds none or several, and whatever the file raises.
    """
    if path.stat().st_mode & 0o002:
        raise PluginFault(f"{path}: others may write this file; chmod o-w {path}")
    module = _module(path)
    classes: list[type[BaseHandler]] = [value for value in vars(module).values() if _is_handler(value, module)]
    if len(classes) > 1:
        names = ", ".join(found.__name__ for found in classes)
        raise PluginFault(f"{path} holds several handlers: {names}; a file holds one, name the others with a leading _")
    if classes:
        return classes[0]
    function = getattr(module, "handle", None)
    if inspect.isfunction(function):
        return _from_function(function, getattr(module, "Settings", None), path)
    raise PluginFault(f"{path} holds no handler: neither a subclass of BaseHandler nor {FORMS}")


def wrong(found: Any) -> str:
    """What is wrong with a supposed handler class; empty where nothing is."""
    if not (inspect.isclass(found) and issubclass(found, BaseHandler)):
        return "is no subclass of receiver.BaseHandler"
    if not (hasattr(found, "handle") or hasattr(found, "handle_batch")):
        return "has neither handle(event, attempt) nor handle_batch(events, attempt)"
    if not issubclass(found.Settings, HandlerSettings):
        return "its Settings is no subclass of BaseHandler.Settings"
    return ""


def threaded(handler: type[BaseHandler]) -> type[BaseHandler]:
    """The handler, with those of its methods that are plain functions run in threads, as many as its `concurrency`.

    A thread cannot be cancelled: at a time-out the call goes on until it returns, or its process ends.
    """
    plain = {name: _in_thread(method) for name in METHODS if (method := _plain(handler, name))}
    if not plain:
        return handler
    about = {"__module__": handler.__module__, "__doc__": handler.__doc__, "__qualname__": handler.__qualname__}
    return type(handler.__name__, (_Threads, handler), {**about, **plain})


def _module(path: Path) -> ModuleType:
    name = f"{PACKAGE}.{path.stem}"
    known = sys.modules.get(name)
    if known and known.__file__ == str(path):
        return known
    sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look up their own module while it is executed
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_handler(value: Any, module: ModuleType) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, BaseHandler)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )


def _from_function(function: Callable[..., Any], given: Any, path: Path) -> type[BaseHandler]:
    takes = len(inspect.signature(function).parameters)
    if takes not in (2, 3):
        raise PluginFault(f"{path}: handle takes {takes} arguments; write {FORMS}")
    Settings = _settings(given)  # noqa: N806 - it is a class

    async def awaited(self: BaseHandler, event: Event, attempt: Attempt) -> Any:
        return await function(*(event, attempt, self.settings)[:takes])

    def called(self: BaseHandler, event: Event, attempt: Attempt) -> Any:
        return function(*(event, attempt, self.settings)[:takes])

    handle = awaited if inspect.iscoroutinefunction(function) else called
    about = {"__module__": function.__module__, "__doc__": inspect.getdoc(function)}
    return type("Function", (BaseHandler,), {**about, "Settings": Settings, "handle": handle})


def _settings(given: Any) -> type[HandlerSettings]:
    """A file's `class Settings` with the keys that every handler has."""
    if not inspect.isclass(given):
        return HandlerSettings
    if issubclass(given, HandlerSettings):
        return given
    return type("Settings", (given, HandlerSettings), {"__module__": given.__module__, "__doc__": given.__doc__})


def _plain(handler: type[BaseHandler], name: str) -> Callable[..., Any] | None:
    method = getattr(handler, name, None)
    return method if method and not inspect.iscoroutinefunction(method) else None


def _in_thread(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def in_thread(self: "_Threads", *given: Any) -> Any:
        call = functools.partial(contextvars.copy_context().run, method, self, *given)
        running = asyncio.get_running_loop().run_in_executor(self.threads, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:  # nothing ends a thread: the call ignores its cancellation until it returns
            await asyncio.wait({running})
            raise

    return in_thread


class _Threads:
    """What a handler with plain methods has besides: threads of its own."""

    settings: HandlerSettings

    @functools.cached_property
    def threads(self) -> ThreadPoolExecutor:
        # The loop's own pool has a handful of threads; `concurrency` would not be what it says.
        return ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix=type(self).__name__)
