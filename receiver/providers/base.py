"""The contract of a provider: a pure function from a callback's bytes to events."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from receiver.callback import Callback, Reply
from receiver.events import Event

OK = Reply()
"""The answer of providers that want to hear nothing in particular."""


class Endpoint(NamedTuple):
    """One URL of a provider: how it is called, what comes there, and where in the provider's portal it is entered."""

    method: str
    name: str
    purpose: str
    """For people: "delivery reports", "inbound messages"."""
    portal: str = ""


class ProviderSettings(BaseModel):
    """Keys of a [sources.x] table that only this provider has. The engine takes the others out before."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Provider(Protocol):
    """Reads callbacks. Pure: no I/O, no clock, no randomness; so quarantined callbacks can be read again after a fix.

    A provider fills in what the callback says: times, numbers, text, status, notes, `raw` and `identity`. The engine
    fills in `id`, `source`, `provider`, `received_at`, `simulated` and `suspected_duplicate_of`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Settings: ClassVar[type[ProviderSettings]]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    signed: ClassVar[bool]
    """Whether this provider signs its callbacks, so that a source needs no secret in its URL."""

    def __init__(self, settings: Any) -> None: ...

    def authenticate(self, callback: Callback) -> None:
        """Check the signature, where the provider signs. Raises Forbidden."""

    def parse(self, callback: Callback) -> Sequence[Event]:
        """The events of a callback; none where it holds nothing to store. Raises Unreadable with what is missing."""

    def home(self, callback: Callback, event: Event) -> str:
        """The name of the endpoint this event belongs to; another than the callback's is noted `wrong_endpoint`."""

    def reply(self, callback: Callback) -> Reply:
        """What the provider wants to hear with the 200."""
