"""The store on PostgreSQL: one database that any number of receivers and dispatchers share."""

from receiver.store.postgres.migrating import migrate
from receiver.store.postgres.moving import PostgresMove
from receiver.store.postgres.store import PostgresStore

__all__ = ["PostgresMove", "PostgresStore", "migrate"]
