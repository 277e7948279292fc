"""vLLM's own engine, for answers to compare with."""

from typing import Any

from vllm import LLM, SamplingParams
from vllm.outputs import CompletionOutput


class Reference:
    """An undivided engine with the settings of the small pool."""

    def __init__(self) -> None:
        self._llm = LLM(
            model="models/demo",
            dtype="float32",
            max_model_len=2048,
            max_num_seqs=8,
            max_num_batched_tokens=512,
            block_size=32,
            enforce_eager=True,
            kv_cache_memory_bytes=64 << 20,
            disable_log_stats=True,
        )

    def answers(self, tokens: list[int], **params: Any) -> list[CompletionOutput]:
        """What it generates for a prompt of token ids."""
        [output] = self._llm.generate(
            {"prompt_token_ids": tokens}, SamplingParams(**params), use_tqdm=False
        )
        return output.outputs

    def tokens(self, text: str) -> list[int]:
        """A text's token ids, with what goes before each text."""
        ids: list[int] = self._llm.get_tokenizer().encode(text)
        return ids
