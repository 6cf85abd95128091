"""How much one source may have of what there is for all."""

from hypothesis import given
from hypothesis import strategies as st

from receiver.fairness import Pace, Room


def test_a_source_alone_may_have_all_the_room() -> None:
    room = Room(10)
    for _ in range(10):
        room.enter("storm")
        assert not room.is_full_for("storm")
    room.enter("storm")
    assert room.is_full_for("storm")


def test_a_storm_does_not_shut_out_another_source() -> None:
    room = Room(10)
    for _ in range(20):
        room.enter("storm")
    for _ in range(5):
        room.enter("calm")
        assert not room.is_full_for("calm")
    room.enter("calm")
    assert room.is_full_for("calm")
    assert room.is_full_for("storm")


def test_who_left_takes_no_room() -> None:
    room = Room(1)
    room.enter("one")
    room.enter("other")
    room.leave("one")
    assert not room.is_full_for("other")
    room.leave("other")
    room.enter("one")
    assert not room.is_full_for("one")


def test_a_pace_gives_a_seconds_worth_at_once_and_then_as_many_a_second() -> None:
    pace = Pace(5)
    assert [pace.allows(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not pace.allows(100.1)
    assert [pace.allows(100.4) for _ in range(3)] == [True, True, False]
    assert [pace.allows(1000.0) for _ in range(6)] == [True] * 5 + [False]


@given(st.integers(1, 50), st.lists(st.floats(0, 0.3), max_size=300))
def test_never_more_than_the_pace_and_a_seconds_worth(rate: int, waits: list[float]) -> None:
    pace, now, taken = Pace(rate), 0.0, 0
    for wait in waits:
        now += wait
        taken += pace.allows(now)
        assert taken <= rate * (now + 1) + 1e-6
