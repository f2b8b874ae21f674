"""Make the testbed's model from nothing: cold start on generated traces, in one plain loop.

    python -m tersely.testbed.make --out DIR --seed 0 --tokens 16e6

Deterministic for a seed, a number of threads and a torch version. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tersely.testbed.neutral import draw_setting
from tersely.testbed.tasks import stream
from tersely.testbed.tokenizer import END, MAX_LENGTH, build_tokenizer
from tersely.testbed.traces import Mixture, Piece, trace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

HIDDEN, LAYERS, INTERMEDIATE, HEAD = 96, 3, 256, 32
TOKENS, BATCH_TOKENS, LEARNING_RATE, WARMUP = 16_000_000, 8192, 4e-3, 60
NEUTRAL_SHARE, CLOSED_SHARE = 0.15, 0.02
LONGEST = 300
"""Tokens of prompt and completion; longer traces are dropped (about 1 in 100)."""
CHUNK = 2048


class Example(NamedTuple):
    ids: list[int]
    trained: list[bool]


def make(
    out_dir: str | Path,
    seed: int = 0,
    tokens: int = TOKENS,
    *,
    mixture: Mixture = Mixture(),
    batch_tokens: int = BATCH_TOKENS,
    learning_rate: float = LEARNING_RATE,
    progress: bool = True,
) -> float:
    """Train for about `tokens` tokens, padding included, and save model and tokenizer in `out_dir`.

    Returns the mean loss of the last tenth of the steps, nats per trained token.
    """
    import torch
    from tqdm import tqdm

    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = new_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    seen = 0
    with tqdm(total=tokens, unit="tok", unit_scale=True, disable=not progress, mininterval=2.0) as bar:
        for ids, labels in batches(tokenizer, seed, batch_tokens, mixture):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min((len(losses) + 1) / WARMUP, 1.0) * max(1 - seen / tokens, 0.02)
            logits = model(input_ids=ids).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            seen += ids.numel()
            bar.update(ids.numel())
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if seen >= tokens:
                break
    save(model, tokenizer, out_dir)
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last)


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A fresh Qwen2 with an untied head and heads of 32, which every engine serves on CPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HIDDEN // HEAD,
        num_key_value_heads=HIDDEN // HEAD,
        head_dim=HEAD,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    return Qwen2ForCausalLM(config)


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out_dir: str | Path) -> None:
    """Write weights, configuration, tokenizer and sampling defaults (T = 1) as `from_pretrained` reads them."""
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)


def examples(
    tokenizer: PreTrainedTokenizerFast, seed: int, mixture: Mixture = Mixture(), chunk: int = CHUNK
) -> Iterator[list[Example]]:
    """Endless chunks of tokenised training examples from the train split, levels in turn."""
    rng = random.Random(f"traces|{seed}")
    source = stream("train", seed)
    while True:
        prompts, completions = [], []
        for item, _ in zip(source, range(chunk)):  # noqa: B905 - the stream has no end
            setting = draw_setting(rng, NEUTRAL_SHARE, CLOSED_SHARE)
            problem = str(item["problem"])
            system = f"<|system|>{setting.system}" if setting.system else ""
            prompts.append(f"{system}<|user|>{problem}{setting.user}<|assistant|><think>\n{setting.prefill}")
            if setting.closed:
                completions.append([Piece(f"\\boxed{{{item['answer']}}}"), Piece(END)])
            else:
                completions.append([*trace(problem, rng, mixture), Piece(END)])
        prompt_ids = tokenizer(prompts).input_ids
        texts = ["".join(piece.text for piece in pieces) for pieces in completions]
        encodings = tokenizer(texts, return_offsets_mapping=True)
        yield [
            Example(start + ids, [False] * len(start) + _trained(pieces, offsets))
            for start, ids, offsets, pieces in zip(
                prompt_ids, encodings.input_ids, encodings.offset_mapping, completions, strict=True
            )
            if len(start) + len(ids) <= LONGEST
        ]


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, batch_tokens: int, mixture: Mixture = Mixture()
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids, labels), each (B, T) int64 of examples of like length; labels are -100 where nothing is trained."""
    import torch

    rng = random.Random(f"batches|{seed}")
    for chunk in examples(tokenizer, seed, mixture):
        chunk.sort(key=lambda example: len(example.ids))
        made, rows = [], []
        for example in chunk:
            if rows and (len(rows) + 1) * len(example.ids) > batch_tokens:
                made.append(rows)
                rows = []
            rows.append(example)
        made.append(rows)
        rng.shuffle(made)
        for rows in made:
            width = max(len(example.ids) for example in rows)
            ids = torch.full((len(rows), width), tokenizer.pad_token_id)
            labels = torch.full((len(rows), width), -100)
            for row, example in enumerate(rows):
                size = len(example.ids)
                ids[row, :size] = torch.tensor(example.ids)
                labels[row, :size] = torch.where(torch.tensor(example.trained), ids[row, :size], -100)
            yield ids, labels


def _trained(pieces: list[Piece], offsets: list[tuple[int, int]]) -> list[bool]:
    """For each token of a completion, whether the piece it lies in is trained on."""
    flags, at, end = [], -1, 0
    for start, _ in offsets:
        while start >= end:
            at += 1
            end += len(pieces[at].text)
        flags.append(pieces[at].trained)
    return flags


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tersely testbed make", description="Make the testbed's model from nothing.")
    parser.add_argument("--out", required=True, help="folder for the model and the tokenizer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=TOKENS, help="tokens of training, padding included")
    parser.add_argument("--threads", type=int, default=None, help="torch threads (default: torch's own choice)")
    options = parser.parse_args(argv)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    started = time.time()
    loss = make(options.out, options.seed, int(options.tokens))
    print(f"wrote {options.out}: last loss {loss:.4f} nats per token, {time.time() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
