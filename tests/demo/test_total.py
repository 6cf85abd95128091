"""The sums of the demo, and how it is drawn."""

import io

import pytest
from rich.console import Console

from receiver.cli.demo.ends import Postbox, Shop
from receiver.cli.demo.scene import Scene
from receiver.cli.demo.total import Total
from receiver.cli.demo.view import drawn
from receiver.cli.simulate import spryng
from receiver.cli.simulate.run import Plan, Run
from receiver.cli.simulate.target import Target
from receiver.store.views import HandlerStats, Standing

EVENTS = {f"event-{number}" for number in range(10)}


@pytest.fixture
def scene() -> Scene:
    """Twelve callbacks, of which two came a second time; every end has all ten events."""
    nobody = Target("http://127.0.0.1:1", "spryng")
    how = {"speedup": 60.0, "give_up": None, "connections": 1, "seed": 1, "rate": 0.0, "duplicates": 0.0}
    run = Run(Plan(shape=spryng.SHAPE, target=nobody, count=1, mix={"dlr": 1.0}, **how))  # type: ignore[arg-type]
    run.tally.sent, run.tally.stored, run.tally.duplicates = 12, 10, 2
    made = Scene(10, Shop(), Postbox(), {"spryng": run})
    made.shop.events.update(EVENTS)
    made.postbox.events.update(EVENTS)
    return made


def handler(pending: int, state: str = "ok") -> HandlerStats:
    return HandlerStats("shop", state, 10, 10 - pending, 0, 0, pending, 0, 0, None, Standing("shop"))


def total(scene: Scene, stored: set[str] = EVENTS, logged: set[str] = EVENTS) -> Total:
    return Total.of(scene, stored=stored, logged=logged)


def test_what_arrived_everywhere_is_as_promised(scene: Scene) -> None:
    found = total(scene)
    assert (found.lost, found.as_promised) == (0, True)
    assert "12 = 10 + 2" in "\n".join(found.lines())


def test_what_an_end_does_not_have_is_lost(scene: Scene) -> None:
    del scene.shop.events["event-3"]
    found = total(scene, logged=EVENTS - {"event-3", "event-4"})
    assert (found.lost, found.as_promised) == (3, False)
    assert "NOT as promised." in found.lines()


def test_what_was_answered_and_is_not_in_the_store_is_lost(scene: Scene) -> None:
    assert total(scene, stored=EVENTS - {"event-3"}).lost == 1


def test_what_waits_is_not_lost_but_not_seen_to_the_end_either(scene: Scene) -> None:
    del scene.shop.events["event-3"]
    scene.handlers = [handler(pending=1)]
    found = total(scene)
    assert (found.lost, found.as_promised) == (0, False)
    assert any("would be handed on at the next start" in line for line in found.lines())


def test_a_wrong_answer_is_not_as_promised(scene: Scene) -> None:
    scene.runs["spryng"].tally.sent += 1
    scene.runs["spryng"].tally.fault("answered 404")
    assert not total(scene).as_promised


def test_the_tables_say_how_everybody_stands(scene: Scene) -> None:
    scene.handlers = [handler(pending=4, state="held")]
    out = Console(file=io.StringIO(), width=100)
    out.print(drawn(scene))
    shown = [line.split() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert ["spryng", "12", "10", "2", "0", "0.0", "ms"] in shown
    assert ["shop", "forward:", "signed", "POSTs", "6", "4", "down"] in shown
