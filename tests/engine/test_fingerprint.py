import numpy as np
import pytest
import torch

from deployments import fingerprint
from deployments.fingerprint import _words_checksum


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """No engine is needed: the checksum that GPUs compute is computed here by a CPU."""


def expected(data: bytes) -> int:
    whole = len(data) // 4
    words = [*np.frombuffer(data[: whole * 4], dtype=np.int32).tolist(), *data[whole * 4 :]]
    return sum(word * (2 * index + 1) for index, word in enumerate(words)) % 2**64


@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 1000, 1003, 4099])
def test_it_is_what_it_is_said_to_be(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_CHUNK", 100)
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    assert _words_checksum(torch.from_numpy(data)) == expected(data.tobytes())


def test_changed_words_and_exchanged_ones_show() -> None:
    words = torch.from_numpy(
        np.random.default_rng(1).integers(-(2**31), 2**31, 2000, dtype=np.int32)
    )
    seen = {_words_checksum(words.view(torch.uint8))}
    for number in range(200):
        changed = words.clone()
        one, two = number * 7 % 2000, (number * 131 + 1) % 2000
        if number % 2:
            changed[one] ^= 1 << number % 32 if number % 32 < 31 else -(2**31)
        else:
            changed[one], changed[two] = words[two], words[one]
        if not changed.equal(words):
            seen.add(_words_checksum(changed.view(torch.uint8)))
        else:
            seen.add(-number)
    assert len(seen) == 201


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.int64])
def test_every_type_and_shape(dtype: torch.dtype) -> None:
    model = torch.nn.Module()
    model.register_buffer("scalar", torch.tensor(1).to(dtype))
    model.register_buffer("empty", torch.zeros(0, 3).to(dtype))
    model.register_buffer("across", torch.arange(12).view(3, 4).to(dtype).T)
    before = fingerprint.fingerprint(model)
    assert fingerprint.fingerprint(model) == before
    model.register_buffer("scalar", torch.tensor(0).to(dtype))
    assert fingerprint.fingerprint(model) != before
