"""The forecaster's forecasts and plans as Ray metrics, exported to Prometheus."""

from ray.util.metrics import Gauge

from autoscaling.fleet_planner import FleetPlanner
from autoscaling.forecast.terms import QUANTILES

MOST_GROUPS = 500
"""Of more groups only the first ones are exported: each is a dozen time series."""


class ForecasterMetrics:
    """Gauges of what is expected, what is needed and what is asked for."""

    def __init__(self) -> None:
        self._tokens = Gauge(
            "tidegate_forecast_tokens",
            "Tokens a second expected at most within the lead time",
            ("group", "side", "quantile"),
        )
        self._need = Gauge("tidegate_forecast_need", "Replicas needed", ("group",))
        self._lead = Gauge(
            "tidegate_forecast_lead_seconds", "What a replica takes to be ready", ("group",)
        )
        self._asked = Gauge(
            "tidegate_forecast_asked", "Replicas asked for by plan", ("deployment",)
        )
        self._tick = Gauge("tidegate_forecast_tick_seconds", "What the last plan took")

    def publish(self, planner: FleetPlanner, tick_seconds: float) -> None:
        """Takes what was planned last.

        Args:
            planner: with the groups' last plans.
            tick_seconds: what making them took.
        """
        self._tick.set(tick_seconds)
        for name, group in list(planner.groups.items())[:MOST_GROUPS]:
            last = group.last
            if last is None:
                continue
            self._need.set(last.need.replicas, {"group": name})
            self._lead.set(last.situation.lead_s, {"group": name})
            for deployment, ask in last.asks.items():
                self._asked.set(ask.active, {"deployment": deployment})
            forecasts = {"prefill": last.situation.prefill, "decode": last.situation.decode}
            for side, forecast in forecasts.items():
                if forecast is None:
                    continue
                for quantile, value in zip(QUANTILES, forecast.quantiles, strict=True):
                    tags = {"group": name, "side": side, "quantile": str(quantile)}
                    self._tokens.set(value, tags)
