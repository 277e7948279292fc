"""What a gateway says to the forecaster. Whether anybody listens, no client can tell."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from autoscaling.demand.terms import Message
from deployments.demand_meter import DemandMeter

TELL_S = 1.0
ANSWER_S = 5.0

log = structlog.get_logger(__name__)


async def tell_forever(
    meter: DemandMeter, tell: Callable[[Message], Awaitable[bool]], every_s: float = TELL_S
) -> None:
    """Sends a gateway's demand, about once a second.

    Args:
        meter: what it has counted.
        tell: sends a message.
        every_s: seconds between two messages.
    """
    failing = False
    # From here on it is known since when is counted.
    meter.message(time.monotonic())
    while True:
        try:
            await asyncio.wait_for(tell(meter.message(time.monotonic())), ANSWER_S)
            meter.answered()
            failing = False
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is sent again
            if not failing:
                log.warning("the forecaster did not answer", error=type(error).__name__)
            failing = True
        await asyncio.sleep(every_s)
