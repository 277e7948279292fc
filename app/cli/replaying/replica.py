"""A simulated replica that is as good as the configuration says."""

from app.config import PoolConfig
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.engine_profile import calibrated
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Requests, Slo

_FASTEST = 4.0
"""A replica may compute so many times as fast as it carries work within a tight promise; more is
no replica."""


def replica_of(
    pool: PoolConfig, capacity: Capacity, requests: Requests, seed: int
) -> tuple[ServiceModel, tuple[str, ...]]:
    """A replica that carries of these requests what the configuration says, within the SLO.

    Args:
        pool: The pool.
        capacity: What one of its replicas carries.
        requests: The pool's, one at least.
        seed: Of the requests by which it is calibrated.

    Returns:
        The replica, and what is to be known of it.
    """
    slo = Slo(pool.slo.ttft_s, pool.slo.itl_s)
    rough = ServiceModel.of_rates(
        capacity.prefill_tps,
        capacity.decode_tps,
        slo,
        max_seqs=pool.engine.max_num_seqs,
        # So many tokens are what routing holds a replica for full with.
        kv_tokens=max(pool.max_outstanding_tokens, pool.engine.max_model_len),
    )
    fitted = calibrated(
        rough, capacity, requests.prompt, requests.output, slo, pool.slo.attainment, seed
    )
    if rough.itl_s[1] / fitted.itl_s[1] <= _FASTEST:
        return fitted, ()
    note = (
        f"{pool.name}: at what `capacity` says, a replica does not keep TTFT {slo.ttft_s:g} s and "
        f"ITL {slo.itl_s:g} s for {pool.slo.attainment:.0%} of these requests, even when there are "
        "few: they are longer than those of the profile. Profile the pool with prompts like these "
        "(`--prompt-tokens`), or promise less."
    )
    return rough, (note,)
