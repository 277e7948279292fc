"""The gateway's accounts as Ray metrics, in batches: one call costs as much as routing."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from app.usage.meter import Totals, UsageKey

_TAGS = ("tenant", "model", "pool", "zone")


class GatewayMetrics:
    """Counters of use and a gauge of open requests, exported by Ray to Prometheus."""

    def __init__(self) -> None:
        self._requests = Counter("tidegate_requests", "Requests finished", _TAGS)
        self._prompt = Counter("tidegate_prompt_tokens", "Prompt tokens read", _TAGS)
        self._output = Counter("tidegate_output_tokens", "Output tokens generated", _TAGS)
        self._open = Gauge("tidegate_open_requests", "Requests being served")
        self._moves = Counter(
            "tidegate_moves", "Requests that lost their replica after they had begun", ("way",)
        )
        self._handoffs = {
            "count": Counter("tidegate_handoffs", "Prompts handed over to decode", ("pool",)),
            "failed": Counter("tidegate_handoffs_failed", "Hand-offs that failed", ("pool",)),
            "seconds": Counter(
                "tidegate_handoff_seconds", "Time from prefill to the first token", ("pool",)
            ),
        }
        self._threshold = Gauge(
            "tidegate_handoff_threshold", "Prompt tokens from which on it is handed over", ("pool",)
        )
        self._cold_starts = Counter(
            "tidegate_cold_start_waits", "Requests that waited for a replica to start", ("pool",)
        )
        self._told: dict[tuple[str, str], float] = {}

    def publish_moves(
        self, moves: Mapping[str, int], handoffs: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Adds what has gone elsewhere since the last call.

        Args:
            moves: all so far, by the way they went on.
            handoffs: all so far, by pool; see `HandOffs.statistics`.
        """
        for way, total in moves.items():
            self._raise(self._moves, ("way", way), total, {"way": way})
        for pool, record in handoffs.items():
            self._threshold.set(record["threshold"], {"pool": pool})
            for name, counter in self._handoffs.items():
                self._raise(counter, (name, pool), record[name], {"pool": pool})

    def publish_cold_starts(self, waits: Mapping[str, int]) -> None:
        """Adds the requests that had to wait for a start; all so far, by pool."""
        for pool, total in waits.items():
            self._raise(self._cold_starts, ("cold start", pool), total, {"pool": pool})

    def _raise(
        self, counter: Counter, key: tuple[str, str], total: float, tags: dict[str, str]
    ) -> None:
        more = total - self._told.get(key, 0.0)
        if more > 0:
            self._told[key] = total
            counter.inc(more, tags)

    def publish(self, usage: dict[UsageKey, Totals], open_requests: int) -> None:
        """Adds what was used since the last call."""
        self._open.set(open_requests)
        for key, totals in usage.items():
            tags = {
                "tenant": key.tenant,
                "model": key.model,
                "pool": key.pool,
                "zone": key.zone,
            }
            # Ray's counters refuse to be raised by nothing.
            for counter, amount in (
                (self._requests, totals.requests),
                (self._prompt, totals.prompt_tokens),
                (self._output, totals.output_tokens),
            ):
                if amount:
                    counter.inc(amount, tags)
