"""What PostgreSQL's errors mean to an operator; never with words of what is stored."""

from typing import Any

import asyncpg

from receiver.errors import StoreMissing, StoreUnavailable, StoreUnusable

# By SQLSTATE, whole or by its class; what is not here is a fault of a statement or of a value in it.
WORDS = {
    "08": "the connection was lost",
    "25006": "the server is read-only: a standby, or a primary that was replaced",
    "25P03": "a transaction of ours stood still for too long",
    "28": "the server refuses this user or password",
    "40": "too many at once changed the same rows",
    "42501": "this user lacks a right in the database",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left",
    "53": "the server lacks resources",
    "54": "a limit of the server is reached",
    "55P03": "a row or table is locked by another session",
    "57014": "the server cancelled it",
    "57": "the server is starting, stopping or in recovery",
    "58": "the server reports an I/O error",
    "XX": "the server reports damage",
}
AGAIN = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same once more may well succeed."""
CLOSED = frozenset({"08", "57P01", "57P02", "57P03", "25006", "25P03"})
"""After these a connection is no good any more."""
LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Unknown(StoreUnavailable):
    """Nobody knows whether it was committed: the connection went while the server was about it."""


def code(fault: BaseException) -> str:
    """The SQLSTATE; empty where the server did not say it."""
    return str(getattr(fault, "sqlstate", "") or "") if isinstance(fault, asyncpg.PostgresError) else ""


def is_one_of(fault: BaseException, codes: Any) -> bool:
    """Whether the SQLSTATE, or its class, is among these."""
    told = code(fault)
    return bool(told) and (told in codes or told[:2] in codes)


def breaks(fault: BaseException) -> bool:
    """Whether the connection it came by is to be given up."""
    return isinstance(fault, LOST) or is_one_of(fault, CLOSED)


def is_the_servers(fault: BaseException) -> bool:
    """Whether it would meet any statement: the server's, the network's or a lock's, not a value's."""
    return isinstance(fault, LOST) or is_one_of(fault, WORDS)


def unavailable(fault: BaseException, where: str) -> StoreUnavailable:
    """The same in words."""
    if isinstance(fault, TimeoutError):
        return StoreUnavailable(f"PostgreSQL does not answer: {where}")
    if isinstance(fault, OSError):
        return StoreUnavailable(f"PostgreSQL cannot be reached ({fault.strerror or type(fault).__name__}): {where}")
    if isinstance(fault, asyncpg.TargetServerAttributeNotMatched):
        return StoreUnavailable(f"none of the hosts takes writes at this moment: {where}")
    if isinstance(fault, LOST):
        return StoreUnavailable(f"the connection was lost: {where}")
    told = code(fault)
    words = WORDS.get(told) or WORDS.get(told[:2]) or type(fault).__name__
    return StoreUnavailable(f"{words} (PostgreSQL {told}): {where}")


def at_start(fault: BaseException, where: str) -> Exception:
    """What an error means when a store is opened: a database that is not there is not waited for."""
    match code(fault):
        case "3D000":
            return StoreMissing(f"no database at {where}; an administrator creates it: createdb")
        case "42501":
            return StoreUnusable(f"this user lacks a right in the database; it has to own its schema: {where}")
    return unavailable(fault, where)
