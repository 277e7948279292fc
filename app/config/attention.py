"""What a model's layers remember of a sequence, by its ``config.json``.

Families name it in many ways. What is not recognised counts as full attention, so that nothing is
refused that might work.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any


class Layers(StrEnum):
    """What the layers of a model remember of a sequence."""

    FULL = "full attention"
    WINDOW = "sliding windows"
    STATE = "recurrent state"


_MIXED = frozenset({Layers.FULL, Layers.WINDOW})
_RECURRENT = frozenset({Layers.FULL, Layers.STATE})

# Families whose older checkpoints leave it to their code which layers differ.
_BY_FAMILY = {
    "cohere2": _MIXED,
    "gemma2": _MIXED,
    "gemma3": _MIXED,
    "gemma3_text": _MIXED,
    "gpt_oss": _MIXED,
    "llama4": _MIXED,
    "llama4_text": _MIXED,
    "bamba": _RECURRENT,
    "falcon_h1": _RECURRENT,
    "granitemoehybrid": _RECURRENT,
    "jamba": _RECURRENT,
    "kimi_linear": _RECURRENT,
    "lfm2": _RECURRENT,
    "nemotron_h": _RECURRENT,
    "plamo2": _RECURRENT,
    "qwen3_next": _RECURRENT,
    "zamba": _RECURRENT,
    "zamba2": _RECURRENT,
    "falcon_mamba": frozenset({Layers.STATE}),
    "mamba": frozenset({Layers.STATE}),
    "mamba2": frozenset({Layers.STATE}),
}
_LISTS = ("layer_types", "layers_block_type")
_WITHOUT_MEMORY = ("mlp", "moe")


def layers_of(config: Mapping[str, Any]) -> frozenset[Layers]:
    """The kinds of layers that a model has; more than one in a hybrid model.

    Args:
        config: What its ``config.json`` holds.
    """
    config = _text(config)
    for key in _LISTS:
        if isinstance(config.get(key), list) and config[key]:
            return frozenset(kind for name in config[key] for kind in _named(str(name)))
    family = config.get("model_type")
    if isinstance(family, str) and family in _BY_FAMILY:
        return _BY_FAMILY[family]
    return _windows(config)


def kv_heads(config: Mapping[str, Any]) -> int | None:
    """The heads that tensor parallel ranks share a KV cache by; None if they do not, or unknown.

    Args:
        config: What its ``config.json`` holds.
    """
    config = _text(config)
    heads = config.get("num_key_value_heads")
    if not isinstance(heads, int) or heads < 1 or config.get("kv_lora_rank") is not None:
        return None
    return heads


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    # A model that also sees or hears describes its text layers apart.
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config


def _named(layer: str) -> Iterator[Layers]:
    if any(word in layer for word in ("sliding", "chunked", "local")):
        yield Layers.WINDOW
    elif layer == "hybrid":
        yield from _RECURRENT
    elif "attention" in layer and "linear" not in layer:
        yield Layers.FULL
    elif layer not in _WITHOUT_MEMORY:
        yield Layers.STATE


def _windows(config: Mapping[str, Any]) -> frozenset[Layers]:
    if not config.get("sliding_window") or not config.get("use_sliding_window", True):
        return frozenset({Layers.FULL})
    without, layers = config.get("max_window_layers"), config.get("num_hidden_layers")
    some = isinstance(without, int) and isinstance(layers, int) and 0 < without < layers
    every = config.get("sliding_window_pattern")
    if some or (isinstance(every, int) and every > 1):
        return _MIXED
    return frozenset({Layers.WINDOW})
