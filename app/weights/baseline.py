"""What starts of a model usually take, and when one is so far from it that something is wrong.

A start that takes far longer than those before it may be reading from somewhere else, loading
something else, or sharing its node with what should not be there. Medians and median absolute
deviations say what is usual: a few odd starts among the known ones do not move them.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any, Self

from app.config.weights import AnomalyConfig

KEPT = 64
"""Starts that are held against the next one."""
NORMAL = 0.6745
"""The median absolute deviation of a normal distribution, in standard deviations."""
LEAST_SHARE = 0.05
LEAST_S = 0.25
"""What deviations count at least, as a share of the median and in seconds: of starts that were all
alike, the next one may differ by as little as a scheduler's whim."""
MIB = 1024**2


class Stage(StrEnum):
    """What a start goes through, in this order."""

    FETCH = "fetch"
    """Bringing to the node what is elsewhere."""
    VERIFY = "verify"
    """Signature, names and headers, and the files that are not weights."""
    TOKENIZER = "tokenizer"
    """Configuration and tokenizer."""
    WEIGHTS = "weights"
    """Reading the weights into the engine, hashed on the way."""
    MEMORY = "memory"
    """The KV cache, and what the engine compiles or tries before it is ready."""
    FIRST_INFERENCE = "first_inference"
    """A short request."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What one stage of a start took."""

    stage: Stage
    seconds: float
    bytes: int = 0
    """What was moved: fetched over the network, or read into the engine."""
    memory: int = 0
    """Bytes by which the processes' resident memory grew; less than 0 where it shrank."""

    def row(self) -> dict[str, Any]:
        """Plain values, as the store keeps them."""
        return {
            "stage": self.stage.value,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "memory": self.memory,
        }


class Against(StrEnum):
    """What a stage was held against."""

    BASELINE = "baseline"
    """The same stage of earlier starts."""
    BUDGET = "budget"
    """The memory that the replica may have."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A stage that is not what it usually is."""

    stage: Stage
    against: Against
    value: float
    """What was measured: seconds, or bytes of resident memory."""
    usual: float
    """The median of earlier starts in seconds, or the budget in bytes."""
    score: float
    """The robust z-score, or how many times the budget it is."""
    limit: float
    """The score from which on it is an anomaly."""

    @property
    def message(self) -> str:
        """What was measured, against what, and the way out."""
        if self.against is Against.BUDGET:
            return (
                f"After stage {self.stage.value!r} the replica has {self.value / MIB:,.0f} MiB in "
                f"memory, {self.score:.2f} times the {self.usual / MIB:,.0f} MiB of "
                f"`resources.memory`, and {self.limit:g} times is the most "
                "(`weights.anomalies.memory_factor`): raise `resources.memory`, or find out what "
                "takes it."
            )
        return (
            f"Stage {self.stage.value!r} took {self.value:.2f} s, and usually takes "
            f"{self.usual:.2f} s on this hardware: its robust z-score is {self.score:.1f}, and "
            f"{self.limit:g} is the most (`weights.anomalies.z_score`). Look at the node and at "
            "where the model came from; to let such starts become the usual ones, set "
            "`weights.anomalies.action` to `shadow`."
        )

    def detail(self) -> dict[str, str | float]:
        """Names and numbers for the audit log."""
        return {
            "stage": self.stage.value,
            "against": self.against.value,
            "value": round(self.value, 3),
            "usual": round(self.usual, 3),
            "score": round(self.score, 2),
            "limit": self.limit,
        }


class Baselines:
    """Earlier starts of one model on one kind of hardware.

    Args:
        records: their stages, oldest first; of each stage the last 64 count.
    """

    def __init__(self, records: Iterable[StageRecord] = ()) -> None:
        self._records: defaultdict[Stage, deque[StageRecord]] = defaultdict(
            lambda: deque(maxlen=KEPT)
        )
        for record in records:
            self.add(record)

    @classmethod
    def read(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Baselines from rows of the store, oldest first.

        Args:
            rows: mappings with what :meth:`StageRecord.row` gives. Those of stages that are not
                known here, as another version of the program may have stored, are left out.
        """
        known = {stage.value for stage in Stage}
        return cls(
            StageRecord(
                Stage(row["stage"]),
                float(row["seconds"]),
                int(row.get("bytes", 0)),
                int(row.get("memory", 0)),
            )
            for row in rows
            if row["stage"] in known
        )

    def add(self, record: StageRecord) -> None:
        """Take in a stage of a start."""
        self._records[record.stage].append(record)

    def history(self, stage: Stage) -> tuple[StageRecord, ...]:
        """What is known of a stage, oldest first."""
        return tuple(self._records[stage])

    def judge(self, record: StageRecord, config: AnomalyConfig) -> Anomaly | None:
        """Whether a stage took far longer than it usually does.

        Args:
            record: The stage, which is not taken in.
            config: The limits.
        """
        return judge(record, self._records[record.stage], config)


def judge(
    record: StageRecord, history: Iterable[StageRecord], config: AnomalyConfig
) -> Anomaly | None:
    """Whether a stage took far longer than those before it. That it was quick is never wrong.

    A fetch is compared with those that moved something too, and not at all if it moved nothing:
    what is in the node's cache says nothing about the network.

    Args:
        record: The stage.
        history: The same stage of earlier starts.
        config: The limits.
    """
    fetched = record.stage is Stage.FETCH
    if fetched and not record.bytes:
        return None
    known = [each.seconds for each in history if each.bytes or not fetched]
    if len(known) < config.least_starts:
        return None
    score, usual = robust_z(record.seconds, known)
    if score <= config.z_score:
        return None
    return Anomaly(record.stage, Against.BASELINE, record.seconds, usual, score, config.z_score)


def judge_memory(
    stage: Stage, resident: int, budget: int | None, config: AnomalyConfig
) -> Anomaly | None:
    """Whether a replica has far more memory than it may have.

    Args:
        stage: The stage that has just ended.
        resident: Bytes of resident memory of all its processes.
        budget: Bytes that it may have; None where nothing is set.
        config: The limits.
    """
    if not budget or resident <= budget * config.memory_factor:
        return None
    return Anomaly(stage, Against.BUDGET, resident, budget, resident / budget, config.memory_factor)


def robust_z(value: float, known: Iterable[float]) -> tuple[float, float]:
    """The robust z-score of a value in seconds, and the median of those that are known.

    Args:
        value: What is judged.
        known: At least one value to judge it by.
    """
    values = list(known)
    middle = median(values)
    spread = median(abs(each - middle) for each in values)
    return NORMAL * (value - middle) / max(spread, LEAST_SHARE * middle, LEAST_S), middle
