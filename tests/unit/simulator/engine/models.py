"""Replicas and requests that are easy to reckon with by hand."""

from collections.abc import Sequence

import numpy as np

from autoscaling.simulator.engine import Engines
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Requests, Slo

SLO = Slo(ttft_s=1.0, itl_s=0.2)


def model(
    itl_s: Sequence[float] = (0.1, 0.1, 0.2),
    token_s: float = 0.01,
    kv_tokens: int = 1000,
    chunk_tokens: int = 10,
    most_waiting: int = 4,
) -> ServiceModel:
    return ServiceModel(tuple(itl_s), (1,), (token_s,), kv_tokens, chunk_tokens, most_waiting)


def requests(*rows: tuple[float, int, int]) -> Requests:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return Requests(
        np.array(columns[0], np.float64),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.int32),
    )


def engines(
    of: ServiceModel | None = None,
    replicas: int = 1,
    most: int = 4,
    patience_s: float = 60.0,
    queue_most: int = 100,
    seed: int = 1,
) -> Engines:
    made = Engines(of or model(), most, SLO, patience_s, seed, queue_most)
    for _ in range(replicas):
        made.add(0.0)
    return made
