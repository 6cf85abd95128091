"""The contract of a handler: BaseHandler, Attempt, and the verdicts Retry, Unavailable, Discard and Pause."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from receiver import units

After = timedelta | float | None

RETRIES = tuple(map(units.duration, ("5s", "1m", "5m", "30m", "2h", "5h", "10h", "10h", "12h", "12h", "24h")))


class Verdict(Exception):
    """What a handler raises instead of returning; the engine decides what follows. `after`: seconds or a timedelta."""

    def __init__(self, reason: str = "", *, after: After = None) -> None:
        super().__init__(reason or type(self).__name__)
        self.reason = reason or type(self).__name__
        self.after = after if after is None or isinstance(after, timedelta) else timedelta(seconds=after)


class Retry(Verdict):
    """Try this event again: it was the event, or nobody knows. Not before `after`, where given."""


class Unavailable(Verdict):
    """Try again: it was the target, not the event. Five in a row put the handler on hold until the target is back."""


class Discard(Verdict):
    """Give this event up now: it becomes a dead letter."""


class Pause(Verdict):
    """Stop this handler until `receiver handlers resume NAME`; the event stays pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try: which one it is, and until when."""

    number: int
    """From 1."""
    of: int
    """How many tries there are before a dead letter."""
    handler: str
    dispatch_id: str
    replay: int = 0
    """0, or which replay of the event this is."""
    deadline: datetime
    first_at: datetime
    """When the first try of this dispatch began."""


class HandlerSettings(BaseModel):
    """The keys of every [handlers.x] table; a handler's own `Settings` adds its own.

    Fields of type timedelta take "10s" and "5m" without further ado, also in subclasses.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # a secret that is not accepted must not stand in the message
    )

    use: str
    kinds: list[Literal["dlr", "mo", "notice"]] = ["mo", "dlr"]
    sources: list[str] = []
    statuses: list[str] = []
    originators: list[str] = []
    recipients: list[str] = []
    keywords: list[str] = []
    opt_out: bool | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    timeout: timedelta = timedelta(seconds=10)
    batch: Annotated[int, Field(ge=1, le=100_000)] = 1
    batch_wait: timedelta = timedelta(0)
    retries: list[Annotated[timedelta, BeforeValidator(units.duration)]] = list(RETRIES)
    ordered: bool = False
    isolation: Literal["process", "shared"] | None = None
    """None: built-in handlers share one process, every other has its own."""
    max_memory: Annotated[int, BeforeValidator(units.size)] = 256 * 1024**2
    simulated: bool = True

    @field_validator("*", mode="before")
    @classmethod
    def _durations(cls, given: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        return units.duration(given) if field and field.annotation is timedelta else given


class BaseHandler:
    """A plug-in that is given events. Define `handle`, or `handle_batch` for up to `batch` events at a time.

    Returning settles; Retry, Unavailable, Discard and Pause say what else. Any other exception means: again.
    A connection that is refused or broken, a DNS failure and a time-out count against the target, not the event.
    `open` and `close` surround the life of the process. Every event comes at least once.
    """

    class Settings(HandlerSettings):
        """The keys every handler has; a handler with keys of its own defines a subclass of this one."""

    def __init__(self, name: str, settings: Any, log: Any) -> None:
        self.name = name
        self.settings = settings
        self.log = log

    async def open(self) -> None:
        """Called once before the first event."""

    async def close(self) -> None:
        """Called once after the last event; not after a crash."""
