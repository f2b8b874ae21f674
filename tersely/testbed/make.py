"""Trains the testbed's model from scratch: supervised training on generated traces, in one plain loop.

    torchrun --nproc-per-node 2 -m tersely.testbed.make --out DIR      # or plain python -m, in one process

Deterministic for a seed, a number of processes and threads, and a torch version. Nothing is downloaded.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tersely.testbed.neutral import draw_setting
from tersely.testbed.tasks import stream
from tersely.testbed.tokenizer import END, MAX_LENGTH, build_tokenizer
from tersely.testbed.traces import MIXTURE, RESULT_WEIGHT, Mixture, Piece, trace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

HIDDEN, LAYERS, INTERMEDIATE, HEAD = 96, 3, 256, 32
TOKENS, BATCH_TOKENS, LEARNING_RATE, WARMUP = 16_000_000, 8192, 3e-3, 60
NEUTRAL_SHARE, CLOSED_SHARE = 0.15, 0.02
LONGEST = 300
"""Tokens of prompt and completion; longer traces are dropped (about 1 in 100)."""
CHUNK = 2048


class Example(NamedTuple):
    """Token ids of prompt and completion, and the weight of each in the loss: 0 on the prompt."""

    ids: list[int]
    weights: list[float]


def make(
    out_dir: str | Path,
    seed: int = 0,
    tokens: int = TOKENS,
    *,
    mixture: Mixture = MIXTURE,
    batch_tokens: int = BATCH_TOKENS,
    learning_rate: float = LEARNING_RATE,
    start: str | Path | None = None,
    progress: bool = True,
) -> float:
    """Train for about `tokens` tokens, padding included, and save model and tokenizer in `out_dir`.

    Returns the mean weighted loss of the last tenth of the steps, nats per token.
    """
    import torch
    from tqdm import tqdm
    from transformers import Qwen2ForCausalLM

    rank, ranks = _join()
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = new_model(tokenizer) if start is None else Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    seen = 0
    with tqdm(total=tokens, unit="tok", unit_scale=True, disable=rank > 0 or not progress, mininterval=2.0) as bar:
        for ids, weights in islice(batches(tokenizer, seed, batch_tokens // ranks, mixture), rank, None, ranks):
            pace = min((len(losses) + 1) / WARMUP, 1.0) * max(1 - seen / tokens, 0.02)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * pace
            logits = model(input_ids=ids).logits[:, :-1]
            nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            weights = weights[:, 1:].flatten()
            loss = (nll * weights).sum() / weights.sum()
            loss.backward()
            _average_gradients(model, ranks)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            seen += batch_tokens
            bar.update(batch_tokens)
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if seen >= tokens:
                break
    if rank == 0:
        save(model, tokenizer, out_dir)
    if ranks > 1:
        torch.distributed.destroy_process_group()
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last)


def _join() -> tuple[int, int]:
    """(rank, number of processes) from torchrun's environment; (0, 1) without it."""
    import torch

    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return int(os.environ.get("RANK", "0")), ranks


def _average_gradients(model: Qwen2ForCausalLM, ranks: int) -> None:
    import torch

    if ranks == 1:
        return
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, (flat / ranks).split(sizes), strict=True):
        gradient.copy_(part.view_as(gradient))


def new_model(
    tokenizer: PreTrainedTokenizerFast, hidden: int = HIDDEN, layers: int = LAYERS, intermediate: int = INTERMEDIATE
) -> Qwen2ForCausalLM:
    """A new Qwen2 with an untied head and head size 32, which every engine supports on CPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD,
        num_key_value_heads=hidden // HEAD,
        head_dim=HEAD,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.06,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    return Qwen2ForCausalLM(config)


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out_dir: str | Path) -> None:
    """Save weights, configuration, tokenizer and sampling defaults (T = 1) for `from_pretrained`."""
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)


def examples(
    tokenizer: PreTrainedTokenizerFast, seed: int, mixture: Mixture = MIXTURE, chunk: int = CHUNK
) -> Iterator[list[Example]]:
    """Infinite iterator over chunks of tokenised training examples from the train split, alternating levels."""
    rng = random.Random(f"traces|{seed}")
    source = stream("train", seed)
    while True:
        prompts, completions = [], []
        for item in islice(source, chunk):
            setting = draw_setting(rng, NEUTRAL_SHARE, CLOSED_SHARE)
            problem = str(item["problem"])
            prompts.append(setting.around(problem))
            if setting.closed:
                completions.append([Piece("\\boxed{"), Piece(str(item["answer"]), RESULT_WEIGHT), Piece("}" + END)])
            else:
                completions.append([*trace(problem, rng, mixture), Piece(END)])
        prompt_ids = tokenizer(prompts).input_ids
        texts = ["".join(piece.text for piece in pieces) for pieces in completions]
        encodings = tokenizer(texts, return_offsets_mapping=True)
        yield [
            Example(start + ids, [0.0] * len(start) + token_weights(pieces, offsets))
            for start, ids, offsets, pieces in zip(
                prompt_ids, encodings.input_ids, encodings.offset_mapping, completions, strict=True
            )
            if len(start) + len(ids) <= LONGEST
        ]


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, batch_tokens: int, mixture: Mixture = MIXTURE
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Infinite iterator over (ids (B, T) int64, weights (B, T) float32) of examples of similar length; padding weighs 0."""
    import torch

    rng = random.Random(f"batches|{seed}")
    for chunk in examples(tokenizer, seed, mixture):
        chunk.sort(key=lambda example: len(example.ids))
        made: list[list[Example]] = []
        rows: list[Example] = []
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
            weights = torch.zeros(len(rows), width)
            for row, example in enumerate(rows):
                size = len(example.ids)
                ids[row, :size] = torch.tensor(example.ids)
                weights[row, :size] = torch.tensor(example.weights)
            yield ids, weights


def token_weights(pieces: list[Piece], offsets: list[tuple[int, int]]) -> list[float]:
    """For each token of a completion, the weight of its piece."""
    weights, at, end = [], -1, 0
    for start, _ in offsets:
        while start >= end:
            at += 1
            end += len(pieces[at].text)
        weights.append(pieces[at].weight)
    return weights
