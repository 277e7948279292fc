"""A Llama of any size with random weights: what is measured is how it is loaded, not what it says.

::

    python -m benchmarks.weights.random_model DIRECTORY --gib 1 --shards 4
"""

import json
import math
import shutil
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import save_file

INDEX = "model.safetensors.index.json"
_HIDDEN, _INNER, _HEADS, _KV_HEADS, _VOCABULARY = 2048, 5632, 16, 8, 32_000


def make(directory: Path, gib: float, shards: int, tokenizer: Path) -> int:
    """Writes a model in bfloat16.

    Args:
        directory: where to, made if need be.
        gib: the least size of its weights in GiB; there are as many layers as that takes.
        shards: into how many files the weights go.
        tokenizer: a directory to copy the tokenizer's files from; its vocabulary must have no more
            than 32,000 entries.

    Returns:
        Bytes of the weights.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in tokenizer.iterdir():
        if file.name.startswith("tokenizer") or file.name == "chat_template.jinja":
            shutil.copyfile(file, directory / file.name)
    shapes = _shapes(0)
    layer = _bytes(_shapes(1)) - _bytes(shapes)
    layers = max(shards, math.ceil((gib * 1024**3 - _bytes(shapes)) / layer))
    (directory / "config.json").write_text(json.dumps(_config(layers), indent=2) + "\n")
    shapes = _shapes(layers)
    generator = torch.Generator().manual_seed(1)
    weight_map: dict[str, str] = {}
    names = list(shapes)
    for shard in range(shards):
        name_of_file = _file(shard, shards)
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file(
            {
                name: torch.randn(shapes[name], generator=generator).bfloat16() * 0.02
                for name in part
            },
            directory / name_of_file,
            {"format": "pt"},
        )
        weight_map |= dict.fromkeys(part, name_of_file)
    if shards > 1:
        index = {"metadata": {"total_size": _bytes(shapes)}, "weight_map": weight_map}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return _bytes(shapes)


def _config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _shapes(layers: int) -> dict[str, tuple[int, ...]]:
    kv = _HIDDEN // _HEADS * _KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN)}
    for number in range(layers):
        layer = f"model.layers.{number}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (_HIDDEN,),
            f"{layer}.post_attention_layernorm.weight": (_HIDDEN,),
            f"{layer}.self_attn.q_proj.weight": (_HIDDEN, _HIDDEN),
            f"{layer}.self_attn.k_proj.weight": (kv, _HIDDEN),
            f"{layer}.self_attn.v_proj.weight": (kv, _HIDDEN),
            f"{layer}.self_attn.o_proj.weight": (_HIDDEN, _HIDDEN),
            f"{layer}.mlp.gate_proj.weight": (_INNER, _HIDDEN),
            f"{layer}.mlp.up_proj.weight": (_INNER, _HIDDEN),
            f"{layer}.mlp.down_proj.weight": (_HIDDEN, _INNER),
        }
    return shapes | {"model.norm.weight": (_HIDDEN,), "lm_head.weight": (_VOCABULARY, _HIDDEN)}


def _bytes(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) * torch.bfloat16.itemsize for shape in shapes.values())


def _file(shard: int, shards: int) -> str:
    if shards == 1:
        return "model.safetensors"
    return f"model-{shard + 1:05}-of-{shards:05}.safetensors"


def main(
    directory: Annotated[Path, typer.Argument(help="Where to write it.")],
    gib: Annotated[float, typer.Option(help="Least size of the weights.")] = 1.0,
    shards: Annotated[int, typer.Option(min=1, help="Files of weights.")] = 1,
    tokenizer: Annotated[Path, typer.Option(help="Whose tokenizer.")] = Path("models/demo"),
) -> None:
    """Write a Llama with random weights."""
    print(f"{make(directory, gib, shards, tokenizer):,} bytes of weights in {directory}")


if __name__ == "__main__":
    typer.run(main)
