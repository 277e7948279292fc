"""Loads a verified model in an engine of several ranks; see `test_verified_loading.py`.

Reads a pool for each attempt, before which weights may have changed, and writes what came of it.
"""

import json
import os
import sys
from typing import Any

from vllm.v1.executor import Executor

from app.config import parse_config
from app.weights.prepare import prepare
from deployments.engine_args import engine_args
from deployments.loader import refusal


def main(args: dict[str, Any], caches: str) -> None:
    config = parse_config(args)
    weights = config.weights.model_copy(update={"cache_dir": caches})
    prepared = prepare(config.models[0], weights)
    for line in sys.stdin:
        config = parse_config(args | {"pools": [json.loads(line), *args["pools"][1:]]})
        pool = config.pools[0]
        engine = engine_args(
            config.models[0], pool, config.zones[pool.zone], config.fairness, prepared=prepared
        ).create_engine_config()
        try:
            executor = Executor.get_class(engine)(engine)
        except Exception as error:  # noqa: BLE001 - vLLM's own, without the reason
            refused = refusal(engine)
            say([type(error).__name__, refused and [refused.reason, refused.message]])
            continue
        executor.shutdown()
        say(None)


def say(message: Any) -> None:
    OUT.write(json.dumps(message) + "\n")
    OUT.flush()


if __name__ == "__main__":
    # What others print is not an answer.
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(json.loads(sys.argv[1]), sys.argv[2])
