"""Where the ranks of an engine run, as Ray Serve is told it.

A disaggregated pool's sides are placed like pools of their own. Three shapes, by the device and by
how many ranks there are:

* on a CPU, one actor with the pool's ``cpus``; vLLM starts further ranks as its child processes;
* on the GPUs of one node, one actor that holds all of them, and again vLLM's own processes. Without
  a placement group the actor can have a label selector of its own;
* on GPUs of several nodes, a placement group with a bundle for every rank. The replica's actor sits
  in the first bundle and claims no GPU, so that vLLM's Ray executor finds one free for each rank.
  Bundles fill as few nodes as they can; those of one engine that generates stay on one node if they
  fit, those of a prefill pipeline may spread even then.
"""

from dataclasses import dataclass
from typing import Any

from app.config import Device, EngineConfig, Executor, Market, PoolConfig, ResourceConfig, Role

# Ray marks a node with an accelerator by a resource of this name; any share of it will do.
_ACCELERATOR = "accelerator_type:"
_ANY_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Placement:
    """How one replica of a pool is placed.

    Attributes:
        executor: How vLLM runs the ranks; never ``auto``.
        ray_actor_options: Options of the replica's actor.
        bundles: Resources of the placement group's bundles; None where there is no group.
        strategy: How bundles are spread over nodes; None where there is no group.
        bundle_label_selector: The labels that each bundle's node must have; None for any.
    """

    executor: Executor
    ray_actor_options: dict[str, Any]
    bundles: list[dict[str, float]] | None = None
    strategy: str | None = None
    bundle_label_selector: list[dict[str, str]] | None = None

    def deployment_options(self) -> dict[str, Any]:
        """Keyword arguments for the ``options`` of a Serve deployment."""
        options: dict[str, Any] = {"ray_actor_options": self.ray_actor_options}
        if self.bundles is not None:
            options["placement_group_bundles"] = self.bundles
            options["placement_group_strategy"] = self.strategy
        if self.bundle_label_selector is not None:
            options["placement_group_bundle_label_selector"] = self.bundle_label_selector
        return options


def engine_placement(pool: PoolConfig, market: Market, role: Role = Role.WHOLE) -> Placement:
    """Place the replicas of a pool, or of one side of it, in one of its markets.

    Args:
        pool: A pool of a valid configuration, or its `side`.
        market: One of the pool's markets.
        role: Which side it is.

    Raises:
        KeyError: The pool has no such market.
    """
    labels = pool.label_selector(market)
    executor = engine_executor(pool.engine, pool.resources)
    if executor is Executor.RAY:
        return _on_bundles(pool, labels, role)
    resources = pool.resources
    options: dict[str, Any] = {"num_cpus": resources.cpus}
    if resources.device is Device.GPU:
        options["num_gpus"] = pool.engine.world_size
        if resources.accelerator_type is not None:
            options["accelerator_type"] = resources.accelerator_type
    if resources.memory is not None:
        options["memory"] = resources.memory
    if labels:
        options["label_selector"] = labels
    return Placement(executor, options)


def engine_executor(engine: EngineConfig, resources: ResourceConfig) -> Executor:
    """The executor that runs an engine's ranks; ``auto`` is resolved.

    Args:
        engine: The engine's settings.
        resources: What each of its replicas takes.
    """
    if engine.executor is not Executor.AUTO:
        return engine.executor
    if engine.world_size == 1:
        return Executor.UNI
    if resources.device is Device.GPU and engine.world_size > resources.gpus_per_node:
        return Executor.RAY
    return Executor.MP


def _on_bundles(pool: PoolConfig, labels: dict[str, str], role: Role) -> Placement:
    resources, world = pool.resources, pool.engine.world_size
    bundle: dict[str, float] = {"CPU": resources.cpus, "GPU": 1}
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": 0}
    if resources.memory is not None:
        bundle["memory"] = options["memory"] = resources.memory
    if resources.accelerator_type is not None:
        bundle[_ACCELERATOR + resources.accelerator_type] = _ANY_SHARE
    # What fits on a node must not be torn apart: its ranks would talk over the network for every
    # token. A pipeline that only computes prompts talks once a chunk, between stages.
    pipeline = role is Role.PREFILL and pool.engine.tensor_parallel_size == 1
    spreads = world > resources.gpus_per_node or pipeline
    return Placement(
        executor=Executor.RAY,
        ray_actor_options=options,
        bundles=[dict(bundle) for _ in range(world)],
        strategy="PACK" if spreads else "STRICT_PACK",
        bundle_label_selector=[dict(labels) for _ in range(world)] if labels else None,
    )
