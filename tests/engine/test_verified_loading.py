"""Real engines load what was signed, and nothing else, whatever is done to it meanwhile."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from safetensors import safe_open
from safetensors.torch import save_file
from vllm import LLM, SamplingParams

from app.config import parse_config
from app.errors import ConfigError, WeightsRefused, WeightsUnavailable
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE
from app.weights.prepare import Prepared, prepare
from app.weights.signing import sign_model
from deployments import weight_stream
from deployments.loader import LOAD_FORMAT, loader_config
from deployments.staging import hardware
from deployments.weight_stream import WeightStream
from deployments.worker_extension import WORKER_EXTENSION
from tests.engine.halves import ARGS
from tests.engine.stack import side_by_side

PROMPT = [3 + (index * 7919) % 900 for index in range(40)]
FILES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """These engines are not of the stack."""


@pytest.fixture(scope="module", autouse=True)
def beside_the_stack() -> Iterator[None]:
    with side_by_side():
        yield


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in two files, signed."""
    folder = tmp_path_factory.mktemp("model") / "demo"
    shutil.copytree("models/demo", folder)
    (folder / SIGNATURE_FILE).unlink()
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    weight_map: dict[str, str] = {}
    for file_name, half in zip(FILES, halves, strict=True):
        save_file({name: tensors[name] for name in half}, folder / file_name)
        weight_map |= dict.fromkeys(half, file_name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    sign_model(folder, "demo", 1, KEY)
    return folder


@pytest.fixture
def model(signed: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return shutil.copytree(signed, tmp_path / "demo")


def verified(folder: Path) -> Prepared:
    """Everything but the weights' bytes, which only the loader reads."""
    config = parse_config(arguments(folder))
    caches = str(folder.parent / "caches")
    return prepare(config.models[0], config.weights.model_copy(update={"cache_dir": caches}))


def arguments(folder: Path) -> dict[str, Any]:
    pem = public_pem(KEY.public_key()).decode()
    models = [{"name": "demo", "source": str(folder), "max_model_len": 32768}]
    return ARGS | {"models": models, "weights": {"keys": [{"id": "k", "public_key": pem}]}}


_engines: list[LLM] = []


def engine(source: Path, prepared: Prepared | None = None, **changes: Any) -> LLM:
    ours: dict[str, Any] = {"model": str(source)}
    if prepared is not None:
        ours = {
            "model": str(prepared.folder),
            "load_format": LOAD_FORMAT,
            "model_loader_extra_config": loader_config(prepared),
        }
    llm = LLM(
        dtype="float32",
        max_model_len=512,
        max_num_seqs=2,
        max_num_batched_tokens=512,
        block_size=32,
        enforce_eager=True,
        kv_cache_memory_bytes=4 << 20,
        disable_log_stats=True,
        worker_extension_cls=WORKER_EXTENSION,
        **(ours | changes),
    )
    # The end of one would take torch's process groups from the others.
    _engines.append(llm)
    return llm


def answer(llm: LLM) -> list[int]:
    params = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True)
    [output] = llm.generate({"prompt_token_ids": PROMPT}, params, use_tqdm=False)
    return list(output.outputs[0].token_ids)


def test_verified_is_what_unverified_is(signed: Path) -> None:
    prepared = verified(signed)
    assert not list(prepared.folder.glob("*.bin"))
    ours, theirs = engine(signed, prepared), engine(signed)
    [record] = ours.collective_rpc("loading_record")
    data = sum((signed / name).stat().st_size for name in FILES)
    assert data - 20_000 < record["bytes"] < data
    assert record["files"] == 2
    assert record["tensors"] == len(
        json.loads((signed / "model.safetensors.index.json").read_text())["weight_map"]
    )
    assert record["seconds"] > 0
    prints = [llm.collective_rpc("weights_fingerprint") for llm in (ours, theirs, ours)]
    assert prints[0] == prints[1] == prints[2]
    assert answer(ours) == answer(theirs)
    [use] = ours.collective_rpc("memory_use")
    assert use["rss"] > 100 << 20
    assert hardware() == hardware()
    assert 0 < len(hardware()) <= 128


def test_a_fingerprint_sees_a_single_value(signed: Path) -> None:
    llm = engine(signed)

    def flip(worker: Any) -> None:
        weight = worker.model_runner.get_model().model.embed_tokens.weight
        weight.data[5, 7] += 1e-3

    before = llm.collective_rpc("weights_fingerprint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
        llm.collective_rpc(flip)
    assert llm.collective_rpc("weights_fingerprint") != before


def write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def first(model: Path) -> Path:
    return model / FILES[0]


def in_data(model: Path) -> None:
    flip(first(model), first(model).stat().st_size // 2)


def last_byte(model: Path) -> None:
    flip(model / FILES[1], (model / FILES[1]).stat().st_size - 1)


def in_header(model: Path) -> None:
    """Two names exchanged: the header stays well formed, and tensors change places."""
    data = first(model).read_bytes()
    one, two, between = b"layers.0.input_layernorm", b"layers.1.input_layernorm", b"\0" * 24
    swapped = data.replace(one, between).replace(two, one).replace(between, two)
    assert swapped != data
    first(model).write_bytes(swapped)


def truncated(model: Path) -> None:
    os.truncate(first(model), first(model).stat().st_size - 4)


def appended(model: Path) -> None:
    with first(model).open("ab") as file:
        file.write(b"\0")


def exchanged(model: Path) -> None:
    first(model).rename(model / "other")
    (model / FILES[1]).rename(first(model))
    (model / "other").rename(model / FILES[1])


def linked(model: Path) -> None:
    first(model).rename(model.parent / "real")
    first(model).symlink_to(model.parent / "real")


def removed(model: Path) -> None:
    first(model).unlink()


def piped(model: Path) -> None:
    first(model).unlink()
    os.mkfifo(first(model))


def other_model(model: Path) -> None:
    """Of the same names, shapes and size."""
    with safe_open(first(model), "pt") as file:
        tensors = {name: file.get_tensor(name) * 1.01 for name in file.keys()}  # noqa: SIM118
    save_file(tensors, first(model))


TAMPERING: tuple[tuple[Callable[[Path], None], set[str]], ...] = (
    (in_data, {"changed_file"}),
    (last_byte, {"changed_file"}),
    (in_header, {"changed_file"}),
    (truncated, {"changed_file"}),
    (appended, {"changed_file"}),
    (exchanged, {"changed_file"}),
    (linked, {"link"}),
    (removed, {"missing_file"}),
    (piped, {"link"}),
    (other_model, {"changed_file"}),
)


@pytest.mark.parametrize(
    ("tamper", "reasons"), TAMPERING, ids=lambda each: getattr(each, "__name__", "")
)
def test_tampering_between_check_and_load(
    model: Path, tamper: Callable[[Path], None], reasons: set[str]
) -> None:
    prepared = verified(model)
    tamper(model)
    with pytest.raises(WeightsRefused) as caught:
        engine(model, prepared)
    assert caught.value.reason in reasons
    assert caught.value.message.startswith(str(model))


class Meanwhile:
    """Does something once, after so many bytes of a file were read."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Callable[[], None]) -> None:
        read_into = weight_stream._File.read_into
        lock, done = threading.Lock(), [False]

        def reading(file: Any, view: memoryview, begin: int) -> None:
            with lock:
                if begin >= at and not done[0] and file._path.name == FILES[0]:
                    done[0] = True
                    act()
            read_into(file, view, begin)

        patch.setattr(weight_stream._File, "read_into", reading)
        patch.setattr(weight_stream, "PIECE", 64 * 1024)
        patch.setattr(weight_stream, "SEGMENT", 256 * 1024)


def test_changed_while_it_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = verified(model)
    Meanwhile(monkeypatch, 500_000, lambda: flip(first(model), first(model).stat().st_size - 9))
    with pytest.raises(WeightsRefused, match="not what was signed"):
        engine(model, prepared)


def test_what_was_read_stays_as_it_was_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapped file would show the change in tensors whose bytes had been hashed already."""
    prepared = verified(model)
    expected = answer(engine(model, prepared))
    header = int.from_bytes(first(model).read_bytes()[:8], "little")
    Meanwhile(monkeypatch, 1_000_000, lambda: write(first(model), 8 + header, b"\xff" * 200_000))
    assert answer(engine(model, prepared)) == expected


def test_put_back_after_it_was_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = verified(model)
    size = first(model).stat().st_size
    flip(first(model), 2000 + size // 8)
    Meanwhile(monkeypatch, size // 2, lambda: flip(first(model), 2000 + size // 8))
    with pytest.raises(WeightsRefused, match="not what was signed"):
        engine(model, prepared)


def test_a_header_that_is_no_more_what_it_was(model: Path) -> None:
    """vLLM reads headers to configure a model, from beside its configuration."""
    prepared = verified(model)
    length = int.from_bytes(first(model).read_bytes()[:8], "little")
    header = first(model).read_bytes()[: 8 + length]
    (prepared.folder / FILES[0]).write_bytes(header)
    engine(model, prepared)
    (prepared.folder / FILES[0]).write_bytes(header.replace(b"layers.0.", b"layers.9."))
    with pytest.raises(WeightsRefused, match="no more the one"):
        engine(model, prepared)


def test_models_may_write_into_what_they_are_given(signed: Path) -> None:
    manifest = verified(signed).manifest
    digests = {name: manifest.files[name] for name in FILES}
    kept = []
    with contextlib.closing(WeightStream(signed, digests, {}, lanes=1)) as stream:
        for _, tensor in stream:
            kept.append(tensor.zero_())
        stream.check()
    assert all(not tensor.any() for tensor in kept)


def test_memory_is_used_again_and_what_is_kept_stays(
    signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_stream, "SEGMENT", 600_000)
    monkeypatch.setattr(weight_stream, "PIECE", 100_000)
    manifest = verified(signed).manifest
    digests = {name: manifest.files[name] for name in FILES}
    expected: dict[str, Any] = {}
    for name in FILES:
        with safe_open(signed / name, "pt") as file:
            expected |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    kept, places = {}, set()
    with contextlib.closing(WeightStream(signed, digests, manifest.sizes)) as stream:
        for number, (name, tensor) in enumerate(stream):
            assert tensor.equal(expected.pop(name))
            places.add(tensor.untyped_storage().data_ptr())
            if number % 5 == 0:
                kept[name] = (tensor, tensor.clone())
        stream.check()
    assert not expected
    assert all(tensor.equal(copy) for tensor, copy in kept.values())
    assert len(places) < len(kept) + 12


def test_left_early(signed: Path) -> None:
    manifest = verified(signed).manifest
    stream = WeightStream(signed, {name: manifest.files[name] for name in FILES}, {})
    next(iter(stream))
    before = threading.active_count()
    stream.close()
    assert threading.active_count() < before


def test_only_what_was_signed_can_be_asked_for(model: Path) -> None:
    prepared = verified(model)
    with pytest.raises(ConfigError, match="not part of the signed model"):
        engine(model, prepared, model=str(model))
    with pytest.raises(ConfigError, match="leave it out"):
        engine(model, load_format=LOAD_FORMAT)
    with pytest.raises(WeightsUnavailable, match="is not on this node"):
        engine(model, replace(prepared, weights=model / "nowhere"))


@pytest.mark.timeout(300)
def test_ranks_refuse(model: Path) -> None:
    """Nothing is loaded where ranks are processes of their own, and the reason comes through."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.engine.rank_process"]
    args = arguments(model)
    args["pools"] = [pool_of({}), args["pools"][1]]
    with subprocess.Popen(
        [*command, json.dumps(args), str(model.parent / "caches")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
        text=True,
    ) as process:
        to, back = process.stdin, process.stdout
        assert to is not None
        assert back is not None

        def load(**ranks: int) -> Any:
            to.write(json.dumps(pool_of(ranks)) + "\n")
            to.flush()
            return json.loads(back.readline())

        flip(model / FILES[1], (model / FILES[1]).stat().st_size - 1)
        for ranks in ("pipeline_parallel_size", "tensor_parallel_size"):
            _, refused = load(**{ranks: 2})
            assert refused[0] == "changed_file"
            assert FILES[1] in refused[1]
        to.close()
        assert process.wait(30) == 0


def pool_of(ranks: dict[str, int]) -> dict[str, Any]:
    pool = {key: value for key, value in ARGS["pools"][0].items() if key != "disaggregated"}
    return pool | {"engine": ARGS["pools"][0]["engine"] | ranks}
