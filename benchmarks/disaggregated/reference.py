"""vLLM's own engine, undivided and in one process, for answers to compare with.

A process of its own, because vLLM reads its environment when it is imported and its memory should
be free again before the service starts: ``python -m benchmarks.disaggregated.reference IN OUT``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.asks import Ask
from benchmarks.gateway.engine import EngineSettings

__all__ = ["Reference", "reference_answers"]

_ROOT = Path(__file__).resolve().parents[2]
_LOG_TAIL = 3000
_KV_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Reference:
    """An undivided engine whose settings, where they matter to an answer, are a pool's."""

    model: Path
    max_model_len: int
    dtype: str
    block_size: int

    @classmethod
    def of(cls, engine: Mapping[str, Any], model: Path) -> Reference:
        """The undivided engine of a pool's ``engine:``."""
        return cls(
            model.resolve(),
            engine["max_model_len"],
            engine.get("dtype", "auto"),
            engine.get("block_size", 32),
        )

    def vllm_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of vLLM's ``LLM``."""
        return {
            "model": str(self.model),
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "block_size": self.block_size,
            "max_num_seqs": 8,
            "max_num_batched_tokens": 2048,
            "kv_cache_memory_bytes": _KV_BYTES,
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "disable_log_stats": True,
        }


def reference_answers(reference: Reference, asks: Sequence[Ask]) -> list[list[int]]:
    """The tokens of each answer.

    Raises:
        RuntimeError: the engine failed; with the end of what it wrote.
    """
    document = {
        "engine": reference.vllm_kwargs(),
        "asks": [{"prompt": ask.prompt, "output_tokens": ask.output_tokens} for ask in asks],
    }
    with tempfile.TemporaryDirectory(prefix="tg") as folder:
        given, made = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps(document))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.disaggregated.reference", given, made],
            cwd=_ROOT,
            env=os.environ | EngineSettings(reference.model).environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout.decode(errors="replace")[-_LOG_TAIL:])
        answers: list[list[int]] = json.loads(made.read_text())
        return answers


def _main(given: Path, made: Path) -> None:
    from vllm import LLM, SamplingParams

    document = json.loads(given.read_text())
    llm = LLM(**document["engine"])
    prompts = [{"prompt_token_ids": ask["prompt"]} for ask in document["asks"]]
    params = [
        SamplingParams(temperature=0, max_tokens=ask["output_tokens"], ignore_eos=True)
        for ask in document["asks"]
    ]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    made.write_text(json.dumps([list(output.outputs[0].token_ids) for output in outputs]))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
