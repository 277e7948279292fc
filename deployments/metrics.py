"""The gateway's accounts as Ray metrics, in batches: one call costs as much as routing."""

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
