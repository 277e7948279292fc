"""Which arms there are, and bringing up those that were asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway.arms import Arm, ArmError, stop_all
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.ray_arms import KeyedTidegateArm, RayLlmArm, TidegateArm
from benchmarks.gateway.vllm_arm import VllmArm, VllmDefaultArm

__all__ = ["ARMS", "DEFAULT_ARMS", "Fleet", "arm_classes", "running"]

ARMS: dict[str, type[Arm]] = {
    cls.name: cls for cls in (VllmArm, TidegateArm, KeyedTidegateArm, RayLlmArm, VllmDefaultArm)
}
DEFAULT_ARMS = ("vllm", "tidegate", "ray-llm")


@dataclass(slots=True)
class Fleet:
    """The arms that run, and for those that do not, why."""

    arms: list[Arm] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    forced: dict[str, list[int]] = field(default_factory=dict)


def arm_classes(names: Sequence[str]) -> list[type[Arm]]:
    """The arms of these names.

    Raises:
        ValueError: there is none of a name.
    """
    for name in names:
        if name not in ARMS:
            raise ValueError(f"no arm is called {name!r}; there are: {', '.join(ARMS)}")
    return [ARMS[name] for name in names]


@contextmanager
def running(
    names: Sequence[str],
    settings: EngineSettings,
    step: Callable[[str], None],
    timeout_s: float = 600.0,
) -> Iterator[Fleet]:
    """Starts arms one after the other, and stops them all at the end, whatever happened.

    An arm that does not start is left out and its reason kept; the reader is told, not spared.
    """
    fleet = Fleet()
    # Short names on purpose: haproxy's socket lies below, and a socket's path is bounded.
    with tempfile.TemporaryDirectory(prefix="tg", ignore_cleanup_errors=True) as work:
        try:
            for place, cls in enumerate(arm_classes(names)):
                arm = cls(settings, Path(work) / str(place))
                step(f"starting {arm.name}")
                fleet.arms.append(arm)
                try:
                    arm.start()
                    step(f"{arm.name} is ready after {arm.wait_ready(timeout_s):.0f} s")
                except (ArmError, OSError, ImportError, LookupError) as error:
                    arm.stop()
                    fleet.arms.remove(arm)
                    fleet.not_run[arm.name] = str(error)
                    step(f"{arm.name} did not start: {error}")
            yield fleet
        finally:
            step("stopping the arms")
            fleet.forced = stop_all(fleet.arms)
