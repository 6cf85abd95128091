"""What the callbacks side counts for Prometheus; no number, id or secret is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds; a provider's own deadline begins at 0.25 (WhatsApp's median) and ends at 30 (Jasmin).
ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Meter:
    """Counters of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._callbacks = Counter(
            "receiver_callbacks", "Callbacks answered, by outcome", ["source", "outcome"], registry=self.registry
        )
        self._refused = Counter(
            "receiver_refused", "Requests refused before they were read", ["source", "reason"], registry=self.registry
        )
        self._seconds = Histogram(
            "receiver_answer_seconds",
            "From a request's arrival to its answer",
            buckets=ANSWER_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = 0
        """Callbacks being answered."""
        gauge = Gauge("receiver_in_flight", "Callbacks being answered", registry=self.registry)
        gauge.set_function(lambda: self.in_flight)
        self.configuration_ok = True
        """False where the last reload was refused."""
        loaded = Gauge(
            "receiver_configuration_ok",
            "0 where the last reload was refused",
            registry=self.registry,
        )
        loaded.set_function(lambda: self.configuration_ok)
        self._children: dict[tuple[str, str], Counter] = {}

    def answered(self, source: str, outcome: str, seconds: float) -> None:
        """A callback was answered: stored, duplicate, quarantined, ignored, unavailable, too_large, bad_method."""
        child = self._children.get((source, outcome))
        if child is None:
            child = self._children[source, outcome] = self._callbacks.labels(source, outcome)
        child.inc()
        self._seconds.observe(seconds)

    def refused(self, source: str, reason: str) -> None:
        """A request was answered 404. `source` is empty where it is none of ours."""
        self._refused.labels(source, reason).inc()
