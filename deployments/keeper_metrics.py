"""The keeper's counts as Ray metrics, exported to Prometheus."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge

from autoscaling.warm_pool import Phase

_STATES = (*(phase.value for phase in Phase), "starting", "doomed")
_EVENTS = ("woken", "parked", "recycled", "put_off", "failed_checks", "lost", "seen_off")


class KeeperMetrics:
    """Gauges of replicas by state, counters of what was done with them, and of starts' stages."""

    def __init__(self) -> None:
        self._replicas = Gauge(
            "tidegate_replicas", "Replicas, by what they do", ("deployment", "state")
        )
        self._asked = Gauge(
            "tidegate_replicas_asked",
            "Active replicas asked for ahead of demand; those wanted where nobody asks",
            ("deployment",),
        )
        self._events = Counter(
            "tidegate_replica_events",
            "Replicas woken, recycled, found unfit",
            ("deployment", "what"),
        )
        self._seconds = Counter(
            "tidegate_start_seconds", "Time that starts took, by stage", ("model", "stage")
        )
        self._starts = Counter(
            "tidegate_start_stages", "Stages that have ended", ("model", "stage")
        )
        self._memory = Gauge(
            "tidegate_start_bytes", "Memory that a stage of the last start took", ("model", "stage")
        )
        self._told: dict[tuple[str, str], float] = {}

    def publish(self, counts: Mapping[str, Mapping[str, float]]) -> None:
        """Takes all counts so far, by deployment."""
        for deployment, each in counts.items():
            for state in _STATES:
                tags = {"deployment": deployment, "state": state}
                self._replicas.set(float(each.get(state, 0)), tags)
            asked = each.get("asked", each.get("wanted", 0))
            self._asked.set(float(asked), {"deployment": deployment})
            for what in _EVENTS:
                more = each.get(what, 0) - self._told.get((deployment, what), 0)
                if more > 0:
                    self._told[deployment, what] = each[what]
                    self._events.inc(more, {"deployment": deployment, "what": what})

    def started(self, model: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Takes the stages of a start that has ended."""
        for record in records:
            tags = {"model": model, "stage": str(record["stage"])}
            self._starts.inc(1, tags)
            if record["seconds"] > 0:
                self._seconds.inc(record["seconds"], tags)
            self._memory.set(float(record["memory"]), tags)
