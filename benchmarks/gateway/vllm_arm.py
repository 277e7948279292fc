"""``vllm serve``, directly: the reference."""

from __future__ import annotations

import sys

from benchmarks.gateway.arms import Arm
from benchmarks.gateway.engine import MODEL_NAME

__all__ = ["VllmArm", "VllmDefaultArm"]


class VllmArm(Arm):
    """vLLM's API server with engine core and worker in one process beside it.

    Started by its entry module, which does what ``vllm serve`` does: the command itself asks for
    the metadata of a package named ``vllm`` and so does not run from the CPU wheel.
    """

    name = "vllm"

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "vllm.entrypoints.launchers.api_server.entry",
            *("--model", str(self.settings.model), "--served-model-name", MODEL_NAME),
            *("--host", self.target.host, "--port", str(self.port)),
            *("--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"),
            *self.settings.vllm_flags(),
        ]


class VllmDefaultArm(VllmArm):
    """The same with vLLM's default executor, a worker process of its own."""

    name = "vllm-default"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
