"""The store on PostgreSQL: one database that any number of receivers and dispatchers share."""

from receiver.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
