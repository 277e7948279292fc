"""A CPU worker that can be one of several ranks."""

from typing import Any

from vllm.distributed.parallel_state import get_pp_group
from vllm.v1.worker.cpu_worker import CPUWorker

from deployments.patience import spare_cores

RANKED_CPU_WORKER = "deployments.pipeline_worker.RankedCPUWorker"


class RankedCPUWorker(CPUWorker):
    """Shares the cores, and allocates the buffers that activations are received into.

    vLLM 0.32 allocates them while it captures graphs, which a CPU in eager mode never does, so that
    its second stage fails on the first request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Before vLLM makes the queues on which this rank waits.
        spare_cores()
        super().__init__(*args, **kwargs)

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
