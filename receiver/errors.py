"""Every exception the receiver raises; what they cost is decided by the engine, never where they are raised."""

from datetime import timedelta


class ReceiverError(Exception):
    """The root of our exceptions."""


class Unreadable(ReceiverError):
    """A callback's content does not name its message or its person; the message says what is missing."""


class Forbidden(ReceiverError):
    """A callback's signature is wrong."""


class StoreUnavailable(ReceiverError):
    """The store cannot take anything now; the message is the reason in words, for operators."""

    def __init__(self, reason: str, *, retry_after: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class StoreMissing(ReceiverError):
    """There is no database where one was expected; `serve` creates it."""


class StoreTaken(ReceiverError):
    """Another process already has this store; the message names its pid."""


class BackupFailed(ReceiverError):
    """No backup was made; the message says why, and nothing of it is left."""


class CopyFailed(ReceiverError):
    """A store was not copied into another; the message says why, and what to do."""


class StoreUnusable(ReceiverError):
    """The store is corrupt, newer than this version, or not durable; the message names the cure."""


class ConfigFault(ReceiverError):
    """One or more faults of the configuration, one line each: `FILE: key.path: what is wrong`."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class PluginFault(ReceiverError):
    """A plug-in is missing, broken or there twice; the message lists what exists."""


class StartFault(ReceiverError):
    """A handler could not be started; it is tried again, and the message is its last error."""


class HandlerStuck(ReceiverError):
    """A call in a shared process ignored its time-out; the process has to end, and the message names the handler."""
