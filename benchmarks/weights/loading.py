"""Loading with verification against loading without, in turns.

::

    python -m benchmarks.weights.loading DIRECTORY --runs 7 --out loading.json

makes two models of random weights in the directory (one file, and four), signs them, and loads each
as vLLM does by itself and as Tidegate does, from the page cache and without it, in an order that is
shuffled anew in each round. What is compared is the time from the configuration to a loaded model:
creating its layers, reading, hashing, copying and repacking, and for Tidegate what comes before as
well (signature, tokenizer, headers). The processor time of all threads stands beside it.
"""

import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

# vLLM reads them when it is imported.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",
)

import typer
from cryptography.hazmat.primitives.asymmetric import ec
from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.worker.cpu_worker import CPUWorker

from app.config import parse_config
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE
from app.weights.prepare import prepare
from app.weights.signing import sign_model
from benchmarks.weights.random_model import make
from deployments.engine_args import engine_args

NAME = "random"


class Kind(NamedTuple):
    """What is loaded, and how."""

    model: str
    cold: bool
    verified: bool


def load(folder: Path, pem: str | None, caches: Path) -> dict[str, float]:
    """Loads a model and says what took how long, in seconds; verified if a key is given."""
    config = parse_config(_args(folder, pem))
    model, pool = config.models[0], config.pools[0]
    weights = config.weights.model_copy(update={"cache_dir": str(caches)})
    began, worked = time.perf_counter(), time.process_time()
    prepared = None if pem is None else prepare(model, weights)
    prepare_s, prepare_cpu_s = time.perf_counter() - began, time.process_time() - worked
    took: dict[str, float] = {}
    load_model = CPUWorker.load_model

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        began, worked = time.perf_counter(), time.process_time()
        result = load_model(self, *args, **kwargs)
        took["load_s"] = time.perf_counter() - began
        took["cpu_s"] = time.process_time() - worked + prepare_cpu_s
        return result

    zone = config.zones[pool.zone]
    args = engine_args(model, pool, zone, config.fairness, prepared=prepared)
    vllm_config = args.create_engine_config()
    CPUWorker.load_model = timed
    try:
        executor = UniProcExecutor(vllm_config)
    finally:
        CPUWorker.load_model = load_model
    [record] = executor.collective_rpc("loading_record") if prepared else [{}]
    del executor, vllm_config
    gc.collect()
    total = {"total_s": prepare_s + took["load_s"], "prepare_s": prepare_s}
    return total | took | {f"loader_{name}": value for name, value in record.items()}


def _args(folder: Path, pem: str | None) -> dict[str, Any]:
    trust: dict[str, Any] = {"unverified": True} if pem is None else {}
    keys = [] if pem is None else [{"id": "benchmark", "public_key": pem}]
    return {
        "models": [{"name": NAME, "source": str(folder), "max_model_len": 4096, **trust}],
        "weights": {"keys": keys},
        "zones": {"public": {"isolation": "medium"}},
        "default_zone": "public",
        "access": {"keys": "off"},
        "size_classes_required": ["small"],
        "pools": [
            {
                "name": "only",
                "model": NAME,
                "zone": "public",
                "size_classes": ["small"],
                "engine": {
                    "max_model_len": 2048,
                    "enforce_eager": True,
                    "kv_cache_memory": "64MiB",
                    "omp_threads": 1,
                },
            }
        ],
    }


def _page_cache(folder: Path, *, cold: bool) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while not cold and file.read(1 << 24):
                pass


def _models(directory: Path, gib: float) -> tuple[dict[str, Path], str]:
    """Both models, signed with one new key, and that key's public half."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    models = {}
    for shards in (1, 4):
        folder = models[f"{shards} file{'s' * (shards > 1)}"] = directory / f"random-{shards}"
        if not (folder / "config.json").is_file():
            make(folder, gib, shards, Path("models/demo"))
        (folder / SIGNATURE_FILE).unlink(missing_ok=True)
        sign_model(folder, NAME, 1, private_key)
    return models, public_pem(private_key.public_key()).decode()


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    totals = [run["total_s"] for run in runs]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {"runs": len(runs), "least_s": min(totals), "most_s": max(totals), **medians}


def _compared(took: dict[Kind, list[dict[str, float]]]) -> list[dict[str, Any]]:
    report = []
    for kind in sorted(took):
        if kind.verified:
            continue
        plain, checked = took[kind], took[kind._replace(verified=True)]
        # Rounds are compared with themselves: what else the machine did differs less within one.
        ratios = [one["total_s"] / two["total_s"] for one, two in zip(checked, plain, strict=True)]
        entry: dict[str, Any] = {
            "model": kind.model,
            "page_cache": "cold" if kind.cold else "warm",
            "unverified": _summary(plain),
            "verified": _summary(checked),
            "ratio": statistics.median(ratios),
        }
        report.append(entry)
        print(
            f"{kind.model}, {entry['page_cache']}: unverified {entry['unverified']['total_s']:.2f} "
            f"s ({entry['unverified']['cpu_s']:.2f} s of processor), verified "
            f"{entry['verified']['total_s']:.2f} s ({entry['verified']['cpu_s']:.2f} s), ratio "
            f"{entry['ratio']:.3f}, of the least {entry['verified']['least_s']:.2f} and "
            f"{entry['unverified']['least_s']:.2f} s"
        )
    return report


def main(
    directory: Annotated[Path, typer.Argument(help="Where the models are, or are made.")],
    runs: Annotated[int, typer.Option(min=1, help="Loads of each kind.")] = 7,
    gib: Annotated[float, typer.Option(help="Least size of the weights.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Compare loading with verification and without."""
    directory.mkdir(parents=True, exist_ok=True)
    models, pem = _models(directory, gib)
    kinds = [
        Kind(name, cold, verified)
        for name in models
        for cold in (False, True)
        for verified in (False, True)
    ]
    took: dict[Kind, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as caches:
        # The first load of a process pays for imports.
        load(models[kinds[0].model], None, Path(caches))
        load(models[kinds[0].model], pem, Path(caches))
        for _ in range(runs):
            for kind in random.sample(kinds, len(kinds)):
                folder = models[kind.model]
                _page_cache(folder, cold=kind.cold)
                took[kind].append(load(folder, pem if kind.verified else None, Path(caches)))
    report = _compared(took)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
