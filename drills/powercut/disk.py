"""A disk that loses its power: what is on it for certain, what is not yet, and what may be left of that.

The rules, which are those of POSIX and stricter than ext4's: what was written to a file before an fsync of it began is
there when that fsync has ended. A file's name, and that it was removed, is there when an fsync of the folder that began
later has ended. All else may be there or not, as the models say. A number that a model draws is a point of time: of a
file, of a piece of it, of a name; older operations on the same are there, younger ones are not.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from drills.powercut import tape
from drills.powercut.tape import Op

PAGE, SECTOR = 4096, 512


@dataclass
class File:
    """The bytes of one file: those on the disk, and what was done since."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def flushed(self, before: int) -> None:
        """All that was done before is on the disk."""
        for op in self.pending:
            if op.sequence < before:
                apply(op, self.synced)
        self.pending = [op for op in self.pending if op.sequence >= before]


@dataclass
class Name:
    """What a name stands for: on the disk, and since."""

    synced: File | None = None
    pending: list[tuple[int, File | None]] = field(default_factory=list)

    @property
    def now(self) -> File | None:
        return self.pending[-1][1] if self.pending else self.synced

    def flushed(self, before: int) -> None:
        """All that was done before is on the disk."""
        while self.pending and self.pending[0][0] < before:
            self.synced = self.pending.pop(0)[1]


class Disk:
    """Follows the operations. At any moment `left` says what a power cut would leave."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, Name] = {}
        self._flushing: dict[int, File | None] = {}

    def follow(self, op: Op) -> None:
        """One more operation is done."""
        name = self._names.setdefault(op.path, Name())
        match op.kind:
            case tape.CREATE if name.now is None:
                name.pending.append((op.sequence, File()))
            case tape.UNLINK:
                name.pending.append((op.sequence, None))
            case tape.WRITE | tape.TRUNCATE if name.now is not None:
                name.now.pending.append(op)
            case tape.FSYNC:
                self._flushing[op.sequence] = name.now
            case tape.FSYNCED:
                self._flushed(op)

    def _flushed(self, op: Op) -> None:
        file = self._flushing.pop(op.offset, None)
        if op.path == self._folder:
            for name in self._names.values():
                name.flushed(op.offset)
        elif file is not None:
            file.flushed(op.offset)

    def left(self, model: "Model", random: Random) -> Mapping[str, bytes]:
        """What each file holds after a power cut now, by its path; a name that is gone is not among them."""
        found = {path: _draw_name(name, model, random) for path, name in sorted(self._names.items())}
        return {path: bytes(model.contents(file, random)) for path, file in found.items() if file is not None}


@dataclass(frozen=True)
class Model:
    """What survives of that which was not flushed."""

    names: Callable[[int, Random], int]
    """How many of so many changes of a name."""
    contents: Callable[[File, Random], bytearray]


def apply(op: Op, content: bytearray) -> None:
    """Do to some bytes what was done to a file."""
    if op.kind == tape.TRUNCATE:
        del content[op.offset :]
    content.extend(bytes(max(op.offset - len(content), 0)))
    if op.kind == tape.WRITE:
        content[op.offset : op.offset + len(op.written)] = op.written


def _draw_name(name: Name, model: Model, random: Random) -> File | None:
    count = model.names(len(name.pending), random)
    return name.pending[count - 1][1] if count else name.synced


def _none(_: int, __: Random) -> int:
    return 0


def _all(count: int, _: Random) -> int:
    return count


def _some(count: int, random: Random) -> int:
    return random.randint(0, count)


def _with(file: File, ops: Iterable[Op]) -> bytearray:
    content = bytearray(file.synced)
    for op in ops:
        apply(op, content)
    return content


def _nothing(file: File, _: Random) -> bytearray:
    return _with(file, ())


def _everything(file: File, _: Random) -> bytearray:
    return _with(file, file.pending)


def _in_order(file: File, random: Random) -> bytearray:
    return _with(file, file.pending[: random.randint(0, len(file.pending))])


def _in_pieces(size: int) -> Callable[[File, Random], bytearray]:
    """Each piece as it was after any of the writes to it; a truncation survives or does not."""

    def contents(file: File, random: Random) -> bytearray:
        pieces = [piece for op in file.pending for piece in _split(op, size)]
        written = Counter(piece.offset // size for piece in pieces if piece.kind == tape.WRITE)
        left = {place: random.randint(0, count) for place, count in written.items()}

        def survives(piece: Op) -> bool:
            if piece.kind == tape.TRUNCATE:
                return random.random() < 0.5
            left[piece.offset // size] -= 1
            return left[piece.offset // size] >= 0

        return _with(file, filter(survives, pieces))

    return contents


def _split(op: Op, size: int) -> Iterable[Op]:
    """A write in parts that lie in one piece each."""
    if op.kind != tape.WRITE:
        return [op]
    end = op.offset + len(op.written)
    edges = [op.offset, *range((op.offset // size + 1) * size, end, size), end]
    return [
        op._replace(offset=begin, written=op.written[begin - op.offset : after - op.offset])
        for begin, after in pairwise(edges)
    ]


def _sizes(file: File, _: Random) -> bytearray:
    """The size of now, and zeros where nothing was flushed."""
    now = _with(file, file.pending)
    kept = min(len(file.synced), *(op.offset for op in file.pending if op.kind == tape.TRUNCATE), len(now))
    return file.synced[:kept] + bytes(len(now) - kept)


MODELS = {
    "nothing": Model(_none, _nothing),
    "everything": Model(_all, _everything),
    "pages": Model(_some, _in_pieces(PAGE)),
    "sectors": Model(_some, _in_pieces(SECTOR)),
    "in-order": Model(_some, _in_order),
    "sizes": Model(_all, _sizes),
}
