"""What the forecaster is asked by others than gateways."""

import asyncio
from typing import Any

import structlog
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.errors import ForecasterUnavailable

NAME = "forecaster"
ANSWER_S = 5.0

log = structlog.get_logger(__name__)


class ForecasterClient:
    """Asks the forecaster of the same application.

    It is found by its name, when it is first asked: it is bound to the ledger, and not the other
    way round.
    """

    def __init__(self) -> None:
        self._handle: DeploymentHandle | None = None

    async def view(self, kind: str, pool: str | None) -> dict[str, Any]:
        """What is forecast or planned.

        Args:
            kind: `forecast` or `plan`.
            pool: whose; of all pools if None.

        Raises:
            ForecasterUnavailable: it did not answer in time.
        """
        try:
            if self._handle is None:
                # `serve.get_deployment_handle` would wait for Serve's controller, on the loop.
                self._handle = DeploymentHandle(NAME, serve.get_replica_context().app_name)
            answer = self._handle.view.remote(kind, pool)
            view: dict[str, Any] = await asyncio.wait_for(answer, ANSWER_S)
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes
            log.warning("the forecaster did not answer", error=type(error).__name__)
            raise ForecasterUnavailable(
                f"the forecaster did not answer within {ANSWER_S:g} s; it may be starting again"
            ) from None
        return view
