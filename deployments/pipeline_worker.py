"""A CPU worker that can be a later stage of a pipeline."""

from typing import Any

from vllm.distributed.parallel_state import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker

PIPELINE_CPU_WORKER = "deployments.pipeline_worker.PipelineCPUWorker"


class PipelineCPUWorker(CPUWorker):
    """Allocates the buffers that activations are received into.

    vLLM 0.32 allocates them while it captures graphs, which a CPU in eager mode never does, so that
    its second stage fails on the first request.
    """

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Loads the stage's layers, then makes the buffers that vLLM forgets."""
        result = super().load_model(*args, **kwargs)
        runner = self.model_runner
        if not get_pp_group().is_first_rank and runner.intermediate_tensors is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens,
                dtype=runner.model_config.dtype,
                device=runner.device,
            )
        return result
