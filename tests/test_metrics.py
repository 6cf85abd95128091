"""What is counted, by which labels, and what is never among them."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from receiver.metrics import Meter


def samples(meter: Meter) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample → its value."""
    families = text_string_to_metric_families(generate_latest(meter.registry).decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_answers_are_counted_by_source_and_outcome() -> None:
    meter = Meter()
    for outcome in ("stored", "stored", "duplicate"):
        meter.answered("spryng", outcome, 0.003)
    meter.answered("bulkvs", "stored", 0.003)
    found = samples(meter)
    assert found["receiver_callbacks_total", "stored", "spryng"] == 2
    assert found["receiver_callbacks_total", "duplicate", "spryng"] == 1
    assert found["receiver_callbacks_total", "stored", "bulkvs"] == 1


def test_how_long_answers_took_is_in_buckets() -> None:
    meter = Meter()
    for seconds in (0.0004, 0.003, 7.0, 60.0):
        meter.answered("spryng", "stored", seconds)
    found = samples(meter)
    assert found["receiver_answer_seconds_bucket", "0.001"] == 1
    assert found["receiver_answer_seconds_bucket", "0.005"] == 2
    assert found["receiver_answer_seconds_bucket", "10.0"] == 3
    assert found["receiver_answer_seconds_bucket", "+Inf"] == 4


def test_refusals_are_counted_by_source_and_reason() -> None:
    meter = Meter()
    meter.refused("spryng", "wrong_secret")
    meter.refused("", "unknown_source")
    found = samples(meter)
    assert found["receiver_refused_total", "wrong_secret", "spryng"] == 1
    assert found["receiver_refused_total", "unknown_source", ""] == 1


def test_what_is_being_answered_is_seen() -> None:
    meter = Meter()
    meter.in_flight += 2
    assert samples(meter)["receiver_in_flight",] == 2


def test_two_meters_count_for_themselves() -> None:
    one, other = Meter(), Meter()
    one.answered("spryng", "stored", 0.001)
    assert ("receiver_callbacks_total", "stored", "spryng") not in samples(other)


def test_a_secret_is_named_by_its_place_and_is_at_0_until_it_is_used() -> None:
    meter = Meter()
    meter.watch({"spryng": (b"old", b"new"), "bulkvs": (b"old",)})
    meter.seen_at["spryng", b"new"] = 1.5
    name = "receiver_secret_last_seen_timestamp_seconds"
    found = {tuple(labels): value for (family, *labels), value in samples(meter).items() if family == name}
    assert found == {("1", "spryng"): 0, ("2", "spryng"): 1.5, ("1", "bulkvs"): 0}
    assert b"old" not in generate_latest(meter.registry)


def test_a_secret_that_moves_up_keeps_its_time_and_one_that_went_is_forgotten() -> None:
    meter = Meter()
    meter.watch({"spryng": (b"old", b"new")})
    meter.seen_at |= {("spryng", b"old"): 1.0, ("spryng", b"new"): 2.0}
    meter.watch({"spryng": (b"new",)})
    assert samples(meter)["receiver_secret_last_seen_timestamp_seconds", "1", "spryng"] == 2.0
    assert list(meter.seen_at) == [("spryng", b"new")]
