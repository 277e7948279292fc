"""Rules on whose weights are loaded in which zone, and on the key ring."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.config.types import Isolation
from app.errors import ConfigIssue

if TYPE_CHECKING:
    from app.config.fleet import FleetConfig

# Engine arguments by which something would be loaded that is not part of what was signed.
_ELSEWHERE = frozenset(
    {
        "hf_config_path",
        "load_format",
        "model_loader_extra_config",
        "speculative_config",
        "weight_transfer_config",
    }
)


def check_weights(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    """Everything that is wrong with what models are verified by.

    Args:
        fleet: A configuration whose fields are valid each by itself.
    """
    yield from _sources(fleet)
    yield from _loaders(fleet)
    yield from _ring(fleet)


def _sources(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    strict = {name for name, zone in fleet.zones.items() if zone.isolation is Isolation.MAXIMUM}
    for index, model in enumerate(fleet.models):
        path = f"models[{index}]"
        if not model.unverified:
            if not fleet.weights.keys_for(model.name):
                yield ConfigIssue(
                    f"{path}.source",
                    f"nobody is trusted to sign {model.name!r}: add the key that signs it to "
                    "`weights.keys` (`tidegate model sign --help`), or set `unverified: true`",
                )
            if model.revision is not None:
                yield ConfigIssue(
                    f"{path}.revision",
                    "belongs to models of the hub, which are loaded with `unverified: true` only: "
                    "download the revision, sign it, and name its directory in `source`",
                )
            if model.tokenizer is not None:
                yield ConfigIssue(
                    f"{path}.tokenizer",
                    "would come from outside what is signed: put the tokenizer's files beside the "
                    "weights and sign them together",
                )
            if model.chat_template is not None:
                yield ConfigIssue(
                    f"{path}.chat_template",
                    "would come from outside what is signed: put it beside the weights as "
                    "`chat_template.jinja` and sign them together",
                )
            continue
        zones = sorted({pool.zone for pool in fleet.pools if pool.model == model.name} & strict)
        if zones:
            yield ConfigIssue(
                f"{path}.unverified",
                f"is not possible in zone {zones[0]!r}, whose isolation is maximum: sign the "
                "model, or serve it in other zones only",
            )


def _loaders(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    verified = {model.name for model in fleet.models if not model.unverified}
    for index, pool in enumerate(fleet.pools):
        if pool.model not in verified:
            continue
        extra = pool.engine.extra
        for key in sorted(_ELSEWHERE & set(extra)):
            yield ConfigIssue(
                f"pools[{index}].engine.extra.{key}",
                "cannot be set: everything of the model is read from what was signed",
            )
        if extra.get("generation_config", "auto") not in ("auto", "vllm"):
            yield ConfigIssue(
                f"pools[{index}].engine.extra.generation_config",
                "would come from outside what is signed: `auto` reads the model's own, `vllm` none",
            )


def _ring(fleet: "FleetConfig") -> Iterator[ConfigIssue]:
    ids = [key.id for key in fleet.weights.keys]
    known = {model.name for model in fleet.models}
    for index, key in enumerate(fleet.weights.keys):
        path = f"weights.keys[{index}]"
        if ids.index(key.id) != index:
            yield ConfigIssue(
                f"{path}.id",
                f"{key.id!r} is already the id of weights.keys[{ids.index(key.id)}]; give it "
                "another one",
            )
        for number, name in enumerate(key.models or ()):
            if name not in known:
                yield ConfigIssue(
                    f"{path}.models[{number}]",
                    f"there is no model {name!r}; the models are {', '.join(sorted(known))}",
                )
