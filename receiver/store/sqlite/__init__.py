"""The store in two SQLite files: `receiver.db` is the log, `receiver.dispatch.db` what the handlers did with it."""

from receiver.store.sqlite.migrating import migrate
from receiver.store.sqlite.moving import SqliteMove
from receiver.store.sqlite.store import SqliteStore

__all__ = ["SqliteMove", "SqliteStore", "migrate"]
