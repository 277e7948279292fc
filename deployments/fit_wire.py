"""How fits travel to the process that makes them, and back: frames of msgpack with their length."""

import msgspec
import numpy as np

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.settings import ForecastSettings

HEADER = 4
"""Bytes in front of each frame: its length, big-endian."""
MOST_BYTES = 16 * 2**20
"""In one frame."""


class _Job(msgspec.Struct, array_like=True):
    model: str
    settings: ForecastSettings
    series_start: float
    step_s: float
    values: bytes
    start: float
    count: int
    id: str


_jobs = msgspec.msgpack.Decoder(_Job)
_results = msgspec.msgpack.Decoder(FitResult)


def encode_job(job: FitJob) -> bytes:
    """A job as it travels."""
    series = job.series
    values = np.asarray(series.values, "<f8").tobytes()
    return msgspec.msgpack.encode(
        _Job(
            job.model,
            job.settings,
            series.start,
            series.step_s,
            values,
            job.start,
            job.count,
            job.id,
        )
    )


def decode_job(body: bytes) -> FitJob:
    """A job that has come.

    Raises:
        ValueError: it is none.
    """
    job = _jobs.decode(body)
    values = np.frombuffer(job.values, "<f8").astype(np.float64)
    series = Series(job.series_start, job.step_s, values)
    return FitJob(job.model, job.settings, series, job.start, job.count, job.id)


def encode_result(result: FitResult) -> bytes:
    """A result as it travels."""
    return msgspec.msgpack.encode(result)


def decode_result(body: bytes) -> FitResult:
    """A result that has come.

    Raises:
        ValueError: it is none.
    """
    return _results.decode(body)


def framed(body: bytes) -> bytes:
    """A body with its length in front.

    Raises:
        ValueError: it is longer than a frame may be.
    """
    if len(body) > MOST_BYTES:
        raise ValueError(f"{len(body):,} bytes are too long for a frame")
    return len(body).to_bytes(HEADER, "big") + body
