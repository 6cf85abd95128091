"""What the callbacks side says in the log about requests: each kind of thing at most once a minute, with a count."""

import time
import traceback
from pathlib import Path
from typing import Any

import structlog

from receiver.callback import Callback
from receiver.logs import Seldom
from receiver.store.base import Recorded

WHY = {
    "no_secret": "the URL has no secret; compare with `receiver urls`",
    "wrong_secret": "the secret in the URL is none of ours; if this is your provider, compare with `receiver urls`",
    "unknown_endpoint": "there is no such endpoint; compare with `receiver urls`",
    "address": "the address is not in allow_from",
    "signature": "the signature is wrong",
    "proxied_without_authentication": "it came through a proxy, and the source has no secret: receiver init",
}


class RequestLog:
    """Keeps strangers from filling the disk with log lines."""

    def __init__(self) -> None:
        self._log: Any = structlog.get_logger()
        self._seldom = Seldom()

    def refused(self, source: str, endpoint: str, reason: str, address: str) -> None:
        """A request at a known source got the 404."""
        facts = {"source": source, "endpoint": endpoint, "reason": reason, "why": WHY.get(reason, reason)}
        self._say("warning", "callback_refused", (source, reason), address=address, **facts)

    def ignored(self, source: str, endpoint: str, address: str) -> None:
        """A test of the URL: URL and secret are right."""
        why = "no parameters: a test of the URL; URL and secret are right"
        facts = {"source": source, "endpoint": endpoint, "why": why, "address": address}
        self._say("info", "callback_ignored", (source, endpoint), **facts)

    def quarantined(self, callback: Callback, fault: str) -> None:
        """A callback that could not be read was kept."""
        facts = {"source": callback.source, "endpoint": callback.endpoint, "why": fault}
        self._say("warning", "callback_quarantined", (callback.source, fault), **facts, cure="receiver quarantine")

    def repeated(self, callback: Callback, recorded: Recorded) -> None:
        """A callback repeated an event stored before."""
        facts = {"source": callback.source, "events": list(recorded.events)}
        self._say("info", "callback_repeated", callback.source, **facts, note="counted, not handed on")

    def unavailable(self, reason: str) -> None:
        """Callbacks are answered 503."""
        note = "answered 503; providers will send them again"
        self._say("error", "callback_not_stored", "unavailable", why=reason, note=note)

    def adapter_failed(self, callback: Callback, fault: Exception) -> None:
        """A bug of an adapter; the callback is kept. Where it is, but not its words: they may quote the callback."""
        facts = {"source": callback.source, "fault": type(fault).__name__, "at": _place(fault)}
        self._say("error", "adapter_failed", (callback.source, type(fault)), **facts)

    def _say(self, level: str, event: str, key: object, **facts: Any) -> None:
        left_out = self._seldom.allows((event, key), time.monotonic())
        if left_out is not None:
            more = {"and_more_like_this": left_out} if left_out else {}
            getattr(self._log, level)(event, **facts, **more)


def _place(fault: Exception) -> str:
    """File, line and function that raised."""
    *_, last = traceback.extract_tb(fault.__traceback__) or [traceback.FrameSummary("unknown", 0, "unknown")]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
