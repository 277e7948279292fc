"""The process that makes fits, one after the other: `python -m deployments.fit_worker SECONDS`.

Jobs come on its standard input and results go to its standard output. It ends with its input, and
by itself if one fit takes longer than `SECONDS`, so that it never outlives whoever started it by
more than that.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import BinaryIO

from autoscaling.forecast.fitting import fit
from deployments.fit_wire import HEADER, MOST_BYTES, decode_job, encode_result, framed

NICE = 10


def main() -> None:
    """Serves until the input ends."""
    limit_s = int(sys.argv[1])
    os.nice(NICE)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("cmdstanpy").disabled = True
    # What libraries print must not come between results.
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for body in _frames(sys.stdin.buffer):
        # Ends the process wherever it is, be it within a library that does not return.
        signal.alarm(limit_s)
        answer = framed(encode_result(fit(decode_job(body))))
        signal.alarm(0)
        results.write(answer)
        results.flush()


def _frames(source: BinaryIO) -> Iterator[bytes]:
    while len(header := source.read(HEADER)) == HEADER:
        length = int.from_bytes(header, "big")
        if length > MOST_BYTES:
            return
        yield source.read(length)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
