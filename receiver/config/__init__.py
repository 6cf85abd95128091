"""The configuration: one TOML file, overridden by the environment, and every fault of it at once."""

from receiver.config.handlers import check_handlers, handler_settings
from receiver.config.listen import Listen
from receiver.config.reading import Examined, examine, load
from receiver.config.settings import Log, Plugins, Server, Settings, Source, Store
from receiver.config.warn import warnings

__all__ = [
    "Examined",
    "Listen",
    "Log",
    "Plugins",
    "Server",
    "Settings",
    "Source",
    "Store",
    "check_handlers",
    "examine",
    "handler_settings",
    "load",
    "warnings",
]
