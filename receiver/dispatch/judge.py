"""What the results of a call mean: for each event, and for the handler, which may be held, paused or back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from receiver.backoff import Delays
from receiver.dispatch.engine import Engine, monotonic
from receiver.dispatch.hold import Hold
from receiver.dispatch.outcome import Circumstances, outcome
from receiver.dispatch.results import Results
from receiver.dispatch.standing import HELD, OK, PAUSED, Stand
from receiver.handler import HandlerSettings
from receiver.hiding import hide_words, words_of
from receiver.logs import Seldom
from receiver.perform import Result
from receiver.store.base import MOST_INTERRUPTIONS, Dead, Dispatch, Done, Settlement

HANDLER_HELD, HANDLER_BACK, HANDLER_PAUSED = "handler_held", "handler_answers_again", "handler_paused"
ATTEMPT_FAILED, DISPATCH_DIED = "attempt_failed", "dispatch_died"

log = structlog.get_logger()


class Judge:
    """Decides for one handler. It keeps what must be written in `results`, and moves the handler's stand."""

    def __init__(self, name: str, engine: Engine, results: Results, stand: Stand) -> None:
        self.hold = Hold(first=engine.first_delay, most=engine.longest_delay)
        self.restarts = Delays(first=engine.first_delay, most=engine.longest_delay)
        self._name, self._engine, self._results, self._stand = name, engine, results, stand
        self._seldom = Seldom(timedelta(seconds=1))

    def follow(self) -> None:
        """Bring the hold into line with the stand, which a command or a restart may have changed."""
        held = self._stand.state == HELD
        if held and not self.hold.active:
            self.hold.begin(monotonic())
        elif not held and self.hold.active:
            self.hold.end()

    def judge(
        self,
        batch: Sequence[Dispatch],
        results: Sequence[Result],
        settings: HandlerSettings,
        *,
        began: datetime,
        took: timedelta,
        probe: bool,
    ) -> None:
        """Settle a call's events one by one, and draw the conclusions for the handler."""
        for result in results:
            if result.verdict != "done":
                break
        else:
            self._all_done(batch, results, began, took)
            return
        words = words_of((each.event for each in batch), {result.answer for result in results})
        held = self._stand.state == HELD
        given = Circumstances(now=self._engine.clock(), draw=self._engine.random(), held=held, probe=probe)
        for dispatch, result in zip(batch, results, strict=True):
            decided = outcome(result, dispatch, settings, given)
            self._results.add(Settlement(dispatch, decided, began_at=began, took=took))
            if result.verdict != "done":
                self._tell(dispatch, result, hide_words(result.answer, words), dead=isinstance(decided, Dead))
        self._conclude(batch, results, words, probe=probe)

    def _all_done(self, batch: Sequence[Dispatch], results: Sequence[Result], began: datetime, took: timedelta) -> None:
        """The usual case, without detours."""
        for dispatch, result in zip(batch, results, strict=True):
            self._results.add(Settlement(dispatch, Done(result.answer), began_at=began, took=took))
        self.restarts.reset()
        self._answered()

    def _conclude(self, batch: Sequence[Dispatch], results: Sequence[Result], words: set[str], *, probe: bool) -> None:
        said = {result.verdict: result.answer for result in reversed(results)}
        if said.keys() != {"interrupted"} or any(each.interruptions + 1 >= MOST_INTERRUPTIONS for each in batch):
            self.restarts.reset()  # something is settled, be it as a dead letter
        if "pause" in said:
            reason = hide_words(said["pause"], words)
            self._stand.move(PAUSED, reason)
            log.warning(HANDLER_PAUSED, handler=self._name, reason=reason)
        elif "done" in said:
            self._answered()
        elif "unavailable" in said:
            failed = [each.event.id for each, one in zip(batch, results, strict=True) if one.verdict == "unavailable"]
            self._target_failed(failed, hide_words(said["unavailable"], words), probe=probe)
        elif "interrupted" not in said:
            self.hold.answered()
            if probe:
                self.hold.probed(monotonic(), target=False)

    def _answered(self) -> None:
        self.hold.answered()
        if self._stand.state == HELD:
            log.info(HANDLER_BACK, handler=self._name, held_since=str(self._stand.now.since))
            self._stand.move(OK, release=True)
            self.hold.end()

    def _target_failed(self, failed: Sequence[str], reason: str, *, probe: bool) -> None:
        time_to_hold = self.hold.failed(failed)
        if probe:
            self.hold.probed(monotonic(), target=True)
        elif time_to_hold and self._stand.state == OK:
            self._stand.move(HELD, reason)
            self.hold.begin(monotonic())
            log.warning(HANDLER_HELD, handler=self._name, reason=reason)

    def _tell(self, dispatch: Dispatch, result: Result, reason: str, *, dead: bool) -> None:
        """At most once a second each: a handler that fails always must not fill the disk with its log."""
        self._stand.err(reason)
        event = DISPATCH_DIED if dead else ATTEMPT_FAILED
        left_out = self._seldom.allows(event, monotonic())
        if left_out is not None:
            (log.warning if dead else log.info)(
                event,
                handler=self._name,
                event_id=dispatch.event.id,
                attempt=dispatch.number,
                verdict=result.verdict,
                reason=reason,
                left_out=left_out,
            )
