"""The Serve deployment that judges the text of requests, over a stream like the engines'."""

from typing import Any

import msgspec
import ray
from ray import serve
from ray.serve.config import RequestRouterConfig

from app.classification.judge import Judge, JudgeSettings
from app.config import ClassifierConfig, FleetConfig
from deployments.membership import ROUTER_CLASS, endpoint_metadata
from deployments.messages import Answer, Judgement, encode
from deployments.nodes import off_spot
from deployments.wire import Connection, Kind, StreamServer

NAME = "classifier"


class ClassifierReplica:
    """Carries a `Judge`; keeps nothing of what it reads.

    Args:
        config: markers and limits.
        zones: the fleet's zones, lowest first.
    """

    async def __init__(self, config: ClassifierConfig, zones: tuple[str, ...]) -> None:  # type: ignore[misc]
        # The judge takes the zones in their order, lowest first.
        markers = {z: config.zone_markers[z] for z in zones if z in config.zone_markers}
        self._judge = Judge(JudgeSettings(zone_markers=markers))
        self._server = StreamServer(self._frame, lambda connection: None)
        self._endpoint = await self._server.start(ray.util.get_node_ip_address())

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is not Kind.JUDGE:
            connection.close()
            return
        question = _JUDGEMENT.decode(buffers[0])
        verdict = self._judge.judge(question.text)
        answer = Answer(
            question.number,
            verdict.task,
            verdict.zone_floor,
            verdict.risk,
            list(verdict.reasons),
            dict(verdict.found),
        )
        connection.send(Kind.VERDICT, [encode(answer)])

    def record_replica_metadata(self) -> dict[str, Any]:
        """Where the stream listens; Serve passes it to the gateways."""
        return endpoint_metadata(self._endpoint)

    async def __del__(self) -> None:
        server = getattr(self, "_server", None)
        if server is not None:
            await server.close()


def classifier_application(fleet: FleetConfig) -> serve.Application:
    """Binds the classifier's deployment."""
    config = fleet.classifier
    deployment = serve.deployment(ClassifierReplica).options(
        name=NAME,
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.cpus} | off_spot(fleet),
        request_router_config=RequestRouterConfig(request_router_class=ROUTER_CLASS),
    )
    return deployment.bind(config, tuple(fleet.zones))


_JUDGEMENT = msgspec.msgpack.Decoder(Judgement)
