"""What is forecast and planned, as the forecaster says when it is asked."""

from typing import Any

from app.admin.params import OfPool
from app.admin.session import Session
from app.config.explain import did_you_mean
from app.errors import ForecasterUnavailable, NotFound


async def forecast(session: Session, params: OfPool) -> dict[str, Any]:
    """Demand as it is and as it is expected, with what that follows from."""
    return await _view(session, "forecast", params.pool)


async def plan(session: Session, params: OfPool) -> dict[str, Any]:
    """Replicas that are asked for, and why."""
    return await _view(session, "plan", params.pool)


async def _view(session: Session, kind: str, pool: str | None) -> dict[str, Any]:
    if not session.config.scaling.forecast.enabled:
        raise NotFound("nothing is forecast here; `scaling.forecast.enabled` is false")
    known = [each.name for each in session.config.pools]
    if pool is not None and pool not in known:
        way_out = did_you_mean(pool, known) or f"the pools are {', '.join(known[:20])}"
        raise NotFound(f"there is no pool {pool!r}; {way_out}", param="pool")
    session.about(detail={"pool": pool})
    if session.forecaster is None:
        raise ForecasterUnavailable("there is no forecaster that could be asked")
    return await session.forecaster(kind, pool)
