"""What the callbacks side counts for Prometheus; no number, id or secret is ever a label."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# Seconds; a provider's own deadline begins at 0.25 (WhatsApp's median) and ends at 30 (Jasmin).
ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter(Collector):
    """Counters of one process, in a registry of its own. They are plain numbers until somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.in_flight = 0
        """Callbacks being answered."""
        self.configuration_ok = True
        """False where the last reload was refused."""
        self.seen_at: dict[tuple[str, bytes], float] = {}
        """Source and digest of a secret → when it was last used, Unix time."""
        self._secrets: Mapping[str, tuple[bytes, ...]] = {}
        self._callbacks: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._answers = [0] * (len(ANSWER_BUCKETS) + 1)
        self._seconds = 0.0

    def answered(self, source: str, outcome: str, seconds: float) -> None:
        """A callback was answered: stored, duplicate, quarantined, ignored, unavailable, too_large, bad_method."""
        self._callbacks[source, outcome] += 1
        self._answers[bisect_left(ANSWER_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def refused(self, source: str, reason: str) -> None:
        """A request was answered 404. `source` is empty where it is none of ours."""
        self._refused[source, reason] += 1

    def watch(self, secrets: Mapping[str, tuple[bytes, ...]]) -> None:
        """From now on these are the live secrets of each source, as digests in the order of the configuration."""
        live = {(source, digest) for source, digests in secrets.items() for digest in digests}
        self._secrets = secrets
        self.seen_at = {which: at for which, at in self.seen_at.items() if which in live}

    def collect(self) -> Iterator[Metric]:
        """The counts as Prometheus reads them."""
        callbacks = CounterMetricFamily(
            "receiver_callbacks", "Callbacks answered, by outcome", labels=["source", "outcome"]
        )
        for labels, count in self._callbacks.items():
            callbacks.add_metric(labels, count)
        refused = CounterMetricFamily(
            "receiver_refused", "Requests refused before they were read", labels=["source", "reason"]
        )
        for labels, count in self._refused.items():
            refused.add_metric(labels, count)
        seconds = HistogramMetricFamily("receiver_answer_seconds", "From a request's arrival to its answer")
        bounds = [*map(str, ANSWER_BUCKETS), "+Inf"]
        seconds.add_metric([], list(zip(bounds, accumulate(self._answers), strict=True)), self._seconds)
        yield from (callbacks, refused, seconds, self._seen())
        yield GaugeMetricFamily("receiver_in_flight", "Callbacks being answered", self.in_flight)
        yield GaugeMetricFamily(
            "receiver_configuration_ok", "0 where the last reload was refused", int(self.configuration_ok)
        )

    def _seen(self) -> GaugeMetricFamily:
        """A secret is named by its place in the configuration, and is at 0 until it is used."""
        seen = GaugeMetricFamily(
            "receiver_secret_last_seen_timestamp_seconds", "Unix time", labels=["source", "secret"]
        )
        for source, digests in self._secrets.items():
            for place, digest in enumerate(digests, 1):
                seen.add_metric([source, str(place)], self.seen_at.get((source, digest), 0.0))
        return seen
