"""What an attempt's result means for its dispatch (pure): done, again and when, or dead."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver import backoff
from receiver.handler import HandlerSettings
from receiver.perform import Result
from receiver.store.base import Dead, Dispatch, Done, Interrupted, Outcome, RetryAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else decides: the time, chance, and whether the handler is on hold."""

    now: datetime
    draw: float
    """In [0, 1); one draw for all events of a batch, so that it comes back as one."""
    held: bool = False
    probe: bool = False


def outcome(result: Result, dispatch: Dispatch, settings: HandlerSettings, given: Circumstances) -> Outcome:
    """What is to be written of an attempt. On hold, failures use up no retries."""
    match result.verdict:
        case "done":
            return Done(result.answer)
        case "discard":
            return Dead(result.answer)
        case "interrupted":
            return Interrupted(result.answer)
        case "pause":
            return RetryAt(given.now, result.answer, charged=False)
    return _again(result, dispatch, settings, given)


def _again(result: Result, dispatch: Dispatch, settings: HandlerSettings, given: Circumstances) -> Outcome:
    target = result.verdict == "unavailable"
    after = None if result.after is None else timedelta(seconds=result.after)
    if given.held:
        at = given.now + backoff.at_least(timedelta(0), after)
        return RetryAt(at, result.answer, target=target, charged=False, probe=given.probe)
    pause = backoff.pause(settings.retries, dispatch.number, random=lambda: given.draw)
    if pause is None:
        return Dead(result.answer)
    return RetryAt(given.now + backoff.at_least(pause, after), result.answer, target=target)
