"""The pages of a SQLite file as they lie on disk, and which of their bytes belong to nothing any more.

After https://www.sqlite.org/fileformat2.html, sections 1.3 (header), 1.5 (free pages) and 1.6 (b-trees).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

INDEX_INSIDE, TABLE_INSIDE, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
HEADER = 100  # bytes at the beginning of page 1
READ = 256  # pages at a time


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a page: where it lies, its row's number (table leaves), and whether it goes on on other pages."""

    start: int
    end: int
    rowid: int
    size: int
    """Bytes of the row."""
    whole: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a b-tree, or of what is none: then `kind` is 0."""

    number: int
    raw: bytes

    @property
    def base(self) -> int:
        return HEADER if self.number == 1 else 0

    @property
    def kind(self) -> int:
        kind = self.raw[self.base]
        return kind if kind in (INDEX_INSIDE, TABLE_INSIDE, INDEX_LEAF, TABLE_LEAF) else 0

    def cells(self) -> list[Cell]:
        """All entries. Of a page that is just being written they may be nonsense."""
        count = _int(self.raw, self.base + 3, 2)
        at = self._head
        return [
            self._cell(_int(self.raw, at + 2 * number, 2)) for number in range(count) if at + 2 * number < len(self.raw)
        ]

    def free(self) -> int:
        """Bytes that no entry has."""
        return len(self.raw) - self._head - sum(cell.end - cell.start + 2 for cell in self.cells())

    def holds(self, start: int, end: int) -> bool:
        """Whether these bytes belong to an entry."""
        return any(cell.start <= start and end <= cell.end for cell in self.cells())

    @property
    def _head(self) -> int:
        """Where the list of entries begins."""
        return self.base + (12 if self.kind in (INDEX_INSIDE, TABLE_INSIDE) else 8)

    def _cell(self, start: int) -> Cell:
        at = start + (4 if self.kind in (INDEX_INSIDE, TABLE_INSIDE) else 0)
        first, at = _varint(self.raw, at)
        if self.kind == TABLE_INSIDE:
            return Cell(start, at, first, 0, whole=True)
        rowid = 0
        if self.kind == TABLE_LEAF:
            rowid, at = _varint(self.raw, at)
        here = self._here(first)
        end = at + here + (4 if here < first else 0)
        return Cell(start, max(end, start + 4), rowid, first, whole=here == first)

    def _here(self, size: int) -> int:
        """How many bytes of a row are on this page."""
        usable = len(self.raw)
        most = usable - 35 if self.kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (usable - 4)
        return here if here <= most else least


def page_size(file: BinaryIO) -> int:
    """Bytes of a page; 0 where the file is empty."""
    file.seek(16)
    size = int.from_bytes(file.read(2), "big")
    return 65536 if size == 1 else size


def read(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """All of a file, many pages at a time: the first one's number, their bytes, the size of each."""
    with path.open("rb") as file:
        size = page_size(file)
        file.seek(0)
        number = 1
        while size and (raw := file.read(size * READ)):
            yield number, raw, size
            number += READ


def free_pages(path: Path) -> set[int]:
    """The pages that are in no tree."""
    found: set[int] = set()
    with path.open("rb") as file:
        size = page_size(file)
        file.seek(32)
        trunk = int.from_bytes(file.read(4), "big")
        while trunk and trunk not in found:
            found.add(trunk)
            file.seek((trunk - 1) * size)
            raw = file.read(size)
            count = min(_int(raw, 4, 4), size // 4 - 2)
            found.update(_int(raw, 8 + 4 * at, 4) for at in range(count))
            trunk = _int(raw, 0, 4)
    return found


def _int(raw: bytes, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "big")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for count in range(9):
        byte = raw[at + count] if at + count < len(raw) else 0
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    return value, at + 9
