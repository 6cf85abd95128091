"""Tracebacks for the log: where it happened and of what kind it was, but not its words, which may quote a message."""

import traceback
from collections.abc import Iterator

from receiver.errors import ReceiverError

OURS = (ReceiverError, OSError)
"""What these say is about the machine and the store, not about what was received."""
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"
DEEPEST = 16


def told(fault: BaseException) -> str:
    """A whole traceback, its causes first, as the interpreter would write it."""
    return "".join(traceback.format_exception(fault)).rstrip("\n")


def discreet(fault: BaseException) -> str:
    """The same with what was said left out, and without local variables."""
    return "\n".join(_parts(fault, DEEPEST))


def _parts(fault: BaseException, deepest: int) -> Iterator[str]:
    before = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
    if before and deepest:
        yield from _parts(before, deepest - 1)
        yield f"\n{CAUSE if fault.__cause__ else CONTEXT}\n"
    if fault.__traceback__:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(fault.__traceback__)).rstrip("\n")
    yield _named(fault)
    if isinstance(fault, BaseExceptionGroup) and deepest:
        for each in fault.exceptions:
            yield from _parts(each, deepest - 1)


def _named(fault: BaseException) -> str:
    kind = type(fault)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    if isinstance(fault, OURS) or kind.__module__ == "sqlite3":
        return f"{name}: {fault}"
    return f"{name} (what it says may quote a message; log.reveal shows it)"
