"""What Tidegate adds to vLLM's workers, in every rank's process, on either model runner."""

from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
from vllm.distributed.kv_transfer import get_kv_transfer_group

from deployments import loader
from deployments.fingerprint import fingerprint
from deployments.messages import KvPeer

WORKER_EXTENSION = "deployments.worker_extension.WorkerExtension"
GENERATED = "tidegate_generated"
"""Key in a request's `extra_args` under which a runner finds how many of its prompt's last tokens
are output."""

# vLLM imports this module in every rank before it loads the model.
loader.register()


class WorkerExtension:
    """Methods for `collective_rpc`."""

    model_runner: Any

    def erase_kv_cache(self) -> int:
        """Overwrites the whole KV cache with zeros, after all that was queued before.

        Returns:
            Bytes that have been overwritten.
        """
        erased = 0
        seen: set[int] = set()
        for tensor in _tensors(self.model_runner.kv_caches):
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                tensor.zero_()
                erased += tensor.numel() * tensor.element_size()
        return erased

    def loading_record(self) -> dict[str, Any]:
        """What loading the weights took here; empty where they were not verified.

        Returns:
            See `verifying_loader.loading_record`.
        """
        from deployments.verifying_loader import loading_record

        return loading_record()

    def weights_fingerprint(self) -> str:
        """What the rank's weights are, to be compared with what they are later.

        The engine must be awake: weights of one that sleeps are not in the device's memory.
        """
        return fingerprint(self.model_runner.get_model())

    def memory_use(self) -> dict[str, int]:
        """Memory that the rank has, in bytes.

        Returns:
            `rss`, the process's resident memory; on a GPU also what is `reserved` and what of that
            is `allocated` there.
        """
        use = {"rss": int(psutil.Process().memory_info().rss)}
        if torch.cuda.is_initialized():
            use["reserved"] = torch.cuda.memory_reserved()
            use["allocated"] = torch.cuda.memory_allocated()
        return use

    def warm_kv_peers(self, peers: list[KvPeer]) -> list[str]:
        """Shakes hands with other engines in the background, and forgets all but these.

        Returns:
            Ids of those with which it is done.
        """
        warm: list[str] = get_kv_transfer_group().connector_worker.warm(peers)
        return warm

    def let_requests_resume(self) -> None:
        """Has the V1 model runner take in requests with output that was generated elsewhere.

        It makes a new request's state of its prompt alone, so the output comes with the prompt. If
        it stayed there, penalties and the least number of tokens would not count it as output.
        """
        batch = self.model_runner.input_batch
        add: Callable[[Any], int] = batch.add_request

        def add_request(request: Any) -> int:
            extra = request.sampling_params.extra_args if request.sampling_params else None
            count = extra.pop(GENERATED, 0) if extra else 0
            if count:
                request.output_token_ids.extend(request.prompt_token_ids[-count:])
                del request.prompt_token_ids[-count:]
                request.num_prompt_tokens -= count
            return add(request)

        batch.add_request = add_request


def _tensors(caches: Any) -> Iterator[Any]:
    # Layers with a state beside their cache, such as Mamba's, have several tensors.
    for cache in caches:
        if isinstance(cache, list | tuple):
            yield from _tensors(cache)
        else:
            yield cache
