"""Laws of hold: when a target counts as down, and when it is probed."""

from receiver.dispatch.hold import Hold


def test_five_failures_in_a_row_of_two_events_hold() -> None:
    hold = Hold()
    assert [hold.failed([event]) for event in ("a", "a", "a", "a", "b")] == [False] * 4 + [True]


def test_five_failures_of_one_event_do_not() -> None:
    hold = Hold()
    assert not any(hold.failed(["a"]) for _ in range(50))


def test_a_batch_that_fails_is_one_failure_of_several_events() -> None:
    hold = Hold()
    assert [hold.failed(["a", "b"]) for _ in range(5)] == [False] * 4 + [True]


def test_an_answer_breaks_the_row() -> None:
    hold = Hold()
    for event in "abcd":
        hold.failed([event])
    hold.answered()
    assert not any(hold.failed([event]) for event in "efgh")


def test_probes_come_after_one_second_doubling_to_a_minute() -> None:
    hold, now, waits = Hold(), 0.0, []
    hold.begin(now)
    for _ in range(8):
        waits.append(hold.wait(now))
        now += waits[-1]
        hold.probed(now, target=True)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_target_that_answers_a_probe_with_no_success_is_soon_tried_with_another() -> None:
    hold = Hold()
    hold.begin(0)
    for _ in range(8):
        hold.probed(0, target=True)
    hold.probed(0, target=False)
    first = hold.wait(0)
    hold.probed(0, target=False)
    assert (first, hold.wait(0)) == (1, 2)
