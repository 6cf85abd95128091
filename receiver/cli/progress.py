"""How far long work in the store is: a bar on standard error where that is a terminal."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from receiver.store.base import Tell, quietly

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


async def followed(work: Callable[[Tell], Awaitable[T]]) -> T:
    """Await what `work` begins when it is given whom to tell how far it is."""
    if not sys.stderr.isatty():
        return await work(quietly)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        return await work(_bar(progress))


def _bar(progress: "Progress") -> Tell:
    bar = progress.add_task("", total=None)

    def tell(part: str, done: int, of: int) -> None:
        progress.update(bar, description=part, completed=done, total=of or None)

    return tell
