"""Which kinds of layers a model has, by what families write into config.json."""

from typing import Any

import pytest

from app.config.attention import Layers, kv_heads, layers_of

FULL, WINDOW, STATE = Layers.FULL, Layers.WINDOW, Layers.STATE


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({}, {FULL}),
        ({"model_type": "llama", "num_hidden_layers": 80}, {FULL}),
        # Every layer has the same window, or none has one.
        ({"model_type": "mistral", "sliding_window": 4096}, {WINDOW}),
        ({"model_type": "mistral", "sliding_window": None}, {FULL}),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False,
          "max_window_layers": 21, "num_hidden_layers": 28}, {FULL}),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True,
          "max_window_layers": 21, "num_hidden_layers": 28}, {FULL, WINDOW}),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True,
          "max_window_layers": 28, "num_hidden_layers": 28}, {WINDOW}),
        ({"sliding_window": 4096, "sliding_window_pattern": 4}, {FULL, WINDOW}),
        ({"layer_types": ["full_attention", "full_attention"], "sliding_window": 4096}, {FULL}),
        ({"layer_types": ["sliding_attention", "full_attention"]}, {FULL, WINDOW}),
        ({"layer_types": ["chunked_attention", "full_attention"]}, {FULL, WINDOW}),
        ({"layer_types": ["linear_attention", "full_attention"]}, {FULL, STATE}),
        ({"layer_types": ["conv", "full_attention"]}, {FULL, STATE}),
        ({"layers_block_type": ["mamba", "attention", "mlp"]}, {FULL, STATE}),
        ({"layers_block_type": ["mamba", "hybrid"]}, {FULL, STATE}),
        ({"layer_types": [], "model_type": "jamba"}, {FULL, STATE}),
        ({"model_type": "gemma2", "sliding_window": 4096}, {FULL, WINDOW}),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, {FULL, WINDOW}),
        ({"text_config": {"layer_types": ["full_attention"]}, "layer_types": ["mamba"]}, {FULL}),
        ({"model_type": "mamba2"}, {STATE}),
        # Whatever else stands there is no reason to fail.
        ({"model_type": ["odd"], "layer_types": "odd", "sliding_window": "odd"}, {WINDOW}),
        ({"layer_types": [None, 3]}, {STATE}),
    ],
)  # fmt: skip
def test_kinds_of_layers(config: dict[str, Any], kinds: set[Layers]) -> None:
    assert layers_of(config) == kinds


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_key_value_heads": 8}, 8),
        ({"text_config": {"num_key_value_heads": 4}, "num_key_value_heads": 8}, 4),
        # Every rank has all of a latent cache.
        ({"num_key_value_heads": 128, "kv_lora_rank": 512}, None),
        ({}, None),
        ({"num_key_value_heads": 0}, None),
        ({"num_key_value_heads": "8"}, None),
    ],
)
def test_heads_of_the_kv_cache(config: dict[str, Any], heads: int | None) -> None:
    assert kv_heads(config) == heads
