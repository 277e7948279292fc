"""The engine settings all arms share, in the words of each arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MODEL_NAME", "EngineSettings"]

MODEL_NAME = "demo"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One engine on a CPU, sized for 128 streams and for the longest size class.

    Attributes:
        model: directory of the model and its tokenizer.
        kv_cache_bytes: memory for KV blocks.
        max_num_batched_tokens: tokens a step; small, so that prefill does not hold up decoding.
        multiprocessing: True leaves vLLM's default, an engine core with a worker process of its
            own. False runs both in one process, as Tidegate's engine does.
    """

    model: Path
    dtype: str = "float32"
    max_model_len: int = 32768
    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    block_size: int = 32
    kv_cache_bytes: int = 512 << 20
    enforce_eager: bool = True
    enable_prefix_caching: bool = True
    omp_threads: int = 1
    multiprocessing: bool = False

    def environment(self) -> dict[str, str]:
        """Environment of every process that may hold the engine."""
        return {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if self.multiprocessing else "0",
            # Otherwise every engine is bound to the first core.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(self.omp_threads),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }

    def vllm_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of vLLM's ``AsyncEngineArgs``, without the model."""
        return {
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "block_size": self.block_size,
            "kv_cache_memory_bytes": self.kv_cache_bytes,
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
        }

    def vllm_flags(self) -> list[str]:
        """The same as flags of ``vllm serve``."""
        flags: list[str] = []
        for key, value in self.vllm_kwargs().items():
            flag = "--" + key.replace("_", "-")
            if isinstance(value, bool):
                flags.append(flag if value else "--no-" + flag[2:])
            else:
                flags += [flag, str(value)]
        return flags

    def tidegate(self) -> dict[str, Any]:
        """The same as a pool's ``engine:`` in serve_config.yaml."""
        return {
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "block_size": self.block_size,
            "kv_cache_memory": f"{self.kv_cache_bytes >> 20}MiB",
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
            "omp_threads": self.omp_threads,
        }
