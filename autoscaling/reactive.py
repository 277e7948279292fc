"""How many replicas the work outstanding asks for now, without looking ahead."""

import math


def desired_replicas(
    outstanding_tokens: float, tokens_per_replica: int, current: int, target_load: float = 0.5
) -> int:
    """Replicas that bring each one's outstanding work to `target_load` of its saturation.

    Scaling down goes one replica at a time, so that a lull does not undo what the next burst
    needs.

    Args:
        outstanding_tokens: tokens outstanding on all replicas together, 0 or more.
        tokens_per_replica: tokens at which one replica is saturated, 1 or more.
        current: replicas there are or are being started, 0 or more.
        target_load: share of saturation to aim at, above 0.

    Returns:
        The count, 0 or more; the caller applies its bounds.
    """
    needed = needed_replicas(outstanding_tokens, tokens_per_replica, target_load)
    return needed if needed >= current else current - 1


def needed_replicas(
    outstanding_tokens: float, tokens_per_replica: int, target_load: float = 0.5
) -> int:
    """Replicas that the work outstanding needs, however many there are.

    Args:
        outstanding_tokens: tokens outstanding on all replicas together, 0 or more.
        tokens_per_replica: tokens at which one replica is saturated, 1 or more.
        target_load: share of saturation to aim at, above 0.

    Returns:
        The count, 0 or more; the caller applies its bounds.
    """
    return math.ceil(outstanding_tokens / (tokens_per_replica * target_load))
