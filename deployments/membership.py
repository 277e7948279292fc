"""Who is ready to serve, as Ray Serve's controller tells every handle.

Serve pushes the running replicas of a deployment, with what each one said of itself in
`record_replica_metadata`, to the router behind every handle. `MembershipRouter` passes that list
on; requests do not travel through it, they go over the replica's stream. Serve constructs the
router itself, from its class's name, so subscribers meet it through this module.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RunningReplica

from deployments.wire import Endpoint

Members = Mapping[str, Endpoint]
"""Endpoints by replica id."""

_subscribers: dict[str, Callable[[Members], None]] = {}
_latest: dict[str, Members] = {}

ROUTER_CLASS = "deployments.membership:MembershipRouter"
ENDPOINT_KEY = "tidegate_endpoint"


def endpoint_metadata(endpoint: Endpoint) -> dict[str, Any]:
    """What a replica returns from `record_replica_metadata`, so that gateways find it."""
    return {ENDPOINT_KEY: {"host": endpoint.host, "port": endpoint.port, "token": endpoint.token}}


def subscribe(handle: DeploymentHandle, on_change: Callable[[Members], None]) -> None:
    """Calls `on_change` with the ready replicas of the handle's deployment, now and at each change.

    May be called on another thread than the subscriber's; at most one subscriber a deployment.
    """
    name = handle.deployment_id.name
    _subscribers[name] = on_change
    if not handle.is_initialized:
        handle._init()  # noqa: SLF001 - else the handle learns of replicas with its first call
    if name in _latest:
        on_change(_latest[name])


def publish(deployment: str, members: Members) -> None:
    """Tells the subscriber of a deployment, now or once there is one."""
    _latest[deployment] = members
    if (on_change := _subscribers.get(deployment)) is not None:
        on_change(members)


class MembershipRouter(PowerOfTwoChoicesRequestRouter):
    """Serve's default router, which also tells this process who the replicas are."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Takes Serve's new list and passes on those that have an endpoint."""
        super().update_replicas(replicas)
        members = {
            replica.replica_id.unique_id: Endpoint(**replica.replica_metadata[ENDPOINT_KEY])
            for replica in replicas
            if ENDPOINT_KEY in replica.replica_metadata
        }
        # Serve unpickles this class by value, so its own globals are copies: import the real ones.
        from deployments.membership import publish

        publish(self._deployment_id.name, members)
