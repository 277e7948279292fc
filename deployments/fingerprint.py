"""What a rank's model holds, in one short text, so that it can be compared with itself later.

It finds memory that has gone wrong, and weights that something overwrote by accident. It proves
nothing against somebody who can write to the device, and is no signature: two engines of one model
may keep its weights in different layouts.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

MOST_THREADS = 8
_CHUNK = 8 * 1024**2
"""Words that are summed at once: what that takes of a GPU's memory is 16 bytes each."""
_PROBE_ROWS = 2
_PROBE_PERIOD = 251


def fingerprint(model: nn.Module) -> str:
    """A digest over all parameters and buffers of a model, their names, types and shapes.

    On a CPU it is SHA-256; on a GPU a checksum of 64 bits a tensor that every changed word and
    every exchanged pair of words changes, computed on the device. Weights that vLLM has packed for
    an operator cannot be read: they are asked for their products with a fixed input, where small
    changes may be lost in rounding.

    Args:
        model: the model of one rank, with its weights in the device's memory.
    """
    named = sorted(_tensors(model), key=lambda pair: pair[0])
    with ThreadPoolExecutor(min(MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        sums = list(pool.map(_checksum, (tensor for _, tensor in named)))
    whole = hashlib.sha256()
    for (name, tensor), each in zip(named, sums, strict=True):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {each}\n".encode())
    return whole.hexdigest()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
    for name, module in model.named_modules():
        product = _packed_product(module)
        if product is not None:
            yield f"{name}.packed", product


def _packed_product(module: Any) -> torch.Tensor | None:
    multiply = getattr(module, "cpu_linear", None)
    weight = getattr(module, "weight", None)
    if multiply is None or weight is None or weight.numel():
        return None
    width = getattr(module, "input_size_per_partition", None) or getattr(
        module, "embedding_dim", None
    )
    if width is None:
        return None
    # No two rows of a column are equal in the probe, so that what two columns exchange shows.
    steps = torch.arange(_PROBE_ROWS * width, dtype=torch.int64).remainder(_PROBE_PERIOD)
    probe = (steps.add(1).to(torch.float32) / _PROBE_PERIOD).to(weight.dtype)
    with torch.inference_mode():
        product: torch.Tensor = multiply(probe.view(_PROBE_ROWS, width), None, None)
    return product


def _checksum(tensor: torch.Tensor) -> str:
    data = tensor.detach().contiguous().view(-1)
    if not data.numel():
        return ""
    data = data.view(torch.uint8)
    if data.device.type == "cpu":
        return hashlib.sha256(data.numpy()).hexdigest()
    return f"{_words_checksum(data):016x}"


def _words_checksum(data: torch.Tensor) -> int:
    """The sum, modulo 2**64, of 32-bit words each times an odd number that is its own."""
    words = data[: data.numel() // 4 * 4].view(torch.int32)
    rest = data[words.numel() * 4 :].to(torch.int32)
    total = 0
    for part, start in ((words, 0), (rest, words.numel())):
        for begin in range(0, part.numel(), _CHUNK):
            chunk = part[begin : begin + _CHUNK].to(torch.int64)
            first = 2 * (start + begin) + 1
            odd = torch.arange(
                first, first + 2 * chunk.numel(), 2, dtype=torch.int64, device=data.device
            )
            total += int(chunk.mul_(odd).sum().item())
    return total % 2**64
