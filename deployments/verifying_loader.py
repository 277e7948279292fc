"""A model is loaded only if every file that it is loaded from is the one that was signed."""

import dataclasses
import fnmatch
import json
import time
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any

import structlog
import torch
from torch import nn
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight

from app.errors import ConfigError, WeightsRefused, WeightsUnavailable
from app.weights.manifest import Manifest
from deployments.loader import FOLDER, LOAD_FORMAT, MANIFEST, REFUSAL, WEIGHTS, leave_refusal
from deployments.weight_stream import WeightStream

INDEX_FILE = "model.safetensors.index.json"

log = structlog.get_logger(__name__)

_last: dict[str, Any] = {}


def loading_record() -> dict[str, Any]:
    """What the last load in this process took.

    Returns:
        `seconds` of reading, hashing and copying together, `waited_s` of them for the next tensor,
        `bytes`, `tensors`, `files` and `gib_per_s`; empty before the first load.
    """
    return dict(_last)


class VerifyingLoader(DefaultModelLoader):
    """Reads safetensors files that a manifest names, and hashes them as it does.

    The model is loaded as by vLLM's own loader. It is refused unless all files that it was loaded
    from, each in full, have the digests in the manifest. Every rank reads and hashes for itself,
    whichever tensors it uses.

    Raises:
        ConfigError: the configuration was not made by `loader_config`.
    """

    def __init__(self, load_config: LoadConfig) -> None:
        extra = load_config.model_loader_extra_config
        if not isinstance(extra, dict) or not {FOLDER, WEIGHTS, MANIFEST, REFUSAL} <= set(extra):
            message = (
                f"{LOAD_FORMAT!r} is chosen where a model has been verified, and cannot be asked "
                "for: leave it out"
            )
            raise ConfigError([("engine.extra.load_format", message)])
        # The base class refuses keys that it does not know.
        super().__init__(dataclasses.replace(load_config, model_loader_extra_config={}))
        self._folder = Path(extra[FOLDER])
        self._weights = Path(extra[WEIGHTS])
        self._manifest = Manifest.unpacked(extra[MANIFEST])
        self._refusal = Path(extra[REFUSAL])
        # While `load_weights` runs, which looks at all of them in the end.
        self._streams: list[WeightStream] | None = None

    def download_model(self, model_config: ModelConfig) -> None:
        """Nothing: models are fetched before they are loaded."""

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Loads a model, and says that it was signed by returning.

        Raises:
            WeightsRefused: it was not what was signed.
        """
        begun = time.perf_counter()
        streams = self._streams = []
        try:
            try:
                super().load_weights(model, model_config)
            finally:
                # Also where it failed: what was changed explains what came of it.
                for stream in streams:
                    stream.check()
        except WeightsRefused as error:
            leave_refusal(self._refusal, error)
            raise
        finally:
            self._streams = None
            for stream in streams:
                stream.close()
        _remember(streams, time.perf_counter() - begun)
        log.info("weights verified", model=self._manifest.name, **_last)

    def _get_weights_iterator(
        self, source: DefaultModelLoader.Source
    ) -> Generator[tuple[str, torch.Tensor], None, None]:
        names = self._names(source)
        digests = {name: self._manifest.files[name] for name in names}
        stream = WeightStream(self._weights, digests, self._manifest.sizes, self._folder)
        if self._streams is not None:
            self._streams.append(stream)
        # What vLLM logs counts from here.
        self.counter_before_loading_weights = time.perf_counter()
        return self._tensors(stream, source.prefix)

    def _tensors(
        self, stream: WeightStream, prefix: str
    ) -> Generator[tuple[str, torch.Tensor], None, None]:
        try:
            for name, tensor in stream:
                if not should_skip_weight(name, self.local_expert_ids):
                    yield prefix + name, tensor
            # vLLM can load the weights of a running engine again, without `load_weights`.
            stream.check()
        finally:
            if self._streams is None:
                stream.close()

    def _names(self, source: DefaultModelLoader.Source) -> list[str]:
        if Path(source.model_or_path) != self._folder:
            message = (
                f"weights of {source.model_or_path!r} are to be loaded too, which are not part of "
                f"the signed model {self._manifest.name!r}: put them into its directory and sign "
                "them together, or serve it with `unverified: true`"
            )
            raise ConfigError([("engine.extra", message)])
        if not self._weights.is_dir():
            raise WeightsUnavailable(
                f"{self._weights} is not on this node, where a rank of the engine is to load it: "
                "keep the model on a disk that all nodes share, or give each engine one node"
            )
        folder = PurePosixPath(source.subfolder or ".")
        patterns = source.allow_patterns_overrides or ["*.safetensors"]
        names = [
            name
            for name in self._manifest.weights
            if PurePosixPath(name).parent == folder
            and any(fnmatch.fnmatchcase(PurePosixPath(name).name, each) for each in patterns)
        ]
        if source.allow_patterns_overrides is None:
            names = self._indexed(names, folder)
        if not names:
            raise WeightsUnavailable(
                f"the signed model {self._manifest.name!r} has no file {' or '.join(patterns)}: "
                "convert its weights to safetensors, and sign it again"
            )
        return names

    def _indexed(self, names: list[str], folder: PurePosixPath) -> list[str]:
        # Some models come a second time, in one file that the index does not name.
        index = self._folder / folder / INDEX_FILE
        if not index.is_file():
            return names
        wanted = {
            str(folder / name) for name in json.loads(index.read_bytes())["weight_map"].values()
        }
        missing = sorted(wanted - set(names))
        if missing:
            raise WeightsUnavailable(
                f"{index} names {missing[0]!r}, which the signed model {self._manifest.name!r} "
                "does not have: add the file, and sign the model again"
            )
        return [name for name in names if name in wanted]


def _remember(streams: list[WeightStream], seconds: float) -> None:
    counts = [stream.counts for stream in streams]
    size = sum(each.bytes for each in counts)
    _last.update(
        seconds=round(seconds, 6),
        waited_s=round(sum(each.waited_s for each in counts), 6),
        bytes=size,
        tensors=sum(each.tensors for each in counts),
        files=sum(each.files for each in counts),
        gib_per_s=round(size / seconds / 1024**3, 3) if seconds else 0.0,
    )
