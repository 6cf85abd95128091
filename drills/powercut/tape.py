"""What a receiver did to its files, operation by operation, as `meddle.c` recorded it."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("=qqIIc7x")
CREATE, WRITE, TRUNCATE, FSYNC, FSYNCED, UNLINK = (kind.encode() for kind in "CWTFfU")


class Op(NamedTuple):
    """One operation. `offset` is a place for WRITE, a size for TRUNCATE, the FSYNC's sequence for FSYNCED."""

    sequence: int
    kind: bytes
    path: str
    offset: int
    written: bytes


def read(file: Path) -> list[Op]:
    """All operations, in their order: processes number them together, and may have noted them in another."""
    return sorted(_ops(file.read_bytes()), key=lambda op: op.sequence)


def _ops(recorded: bytes) -> Iterator[Op]:
    at = 0
    while at < len(recorded):
        sequence, offset, path, size, kind = HEAD.unpack_from(recorded, at)
        begin = at + HEAD.size
        at = begin + path + size
        assert kind in b"CWTFfU", f"no operation at {begin}"
        yield Op(sequence, kind, recorded[begin : begin + path].decode(), offset, recorded[begin + path : at])
