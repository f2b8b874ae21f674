"""The cold start of the families' model: supervised training from scratch on generated traces, in one plain loop.

Matrices are trained by Muon, the rest by AdamW. Deterministic for a seed, a number of threads and a torch version.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tersely.testbed.families import FAMILIES
from tersely.testbed.families.problems import cells, problem_at
from tersely.testbed.families.writing import LABELS, RESULT_WEIGHT, SENTENCES, Piece, draw_habits, step_tokens
from tersely.testbed.families.writing import steps as steps_of
from tersely.testbed.make import Example, new_model, save, token_weights
from tersely.testbed.neutral import Setting, draw_setting
from tersely.testbed.tokenizer import END, build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

HIDDEN, LAYERS, INTERMEDIATE = 96, 4, 288
TOKENS = 9_000_000
LONGEST, STEP_TOKENS, GROUPS, STEPS = 512, 4096, 4, 8
MUON_RATE, ADAM_RATE, WARMUP = 0.02, 3e-3, 60
LEVEL_SHARES = (5, 5, 4, 3, 3)
NEUTRAL_SHARE, CLOSED_SHARE, MISTAKEN = 0.1, 0.02, 0.1
CHUNK = 512
DRILLED, DRILLS = 18_000, 0.15
"""Examples at the start that are all drills, and the share of drills after them."""
SHORT_LIST, LONG_LIST = 5, 20


def cold_start(out_dir: str | Path, seed: int = 0, tokens: int = TOKENS, progress: bool = True) -> float:
    """Train a new model for about `tokens` tokens, prompts included, and save it with its tokenizer in `out_dir`.

    Returns the mean weighted loss of the last tenth of the steps, nats per token.
    """
    import torch
    from tqdm import tqdm

    torch.manual_seed(seed)
    tokenizer = build_tokenizer(SENTENCES, step_tokens())
    model = new_model(tokenizer, HIDDEN, LAYERS, INTERMEDIATE)
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    muon = Muon(matrices)
    adam = torch.optim.AdamW(
        [weight for weight in model.parameters() if id(weight) not in chosen], betas=(0.9, 0.98), weight_decay=0.01
    )
    losses: list[float] = []
    total = max(-(-tokens // STEP_TOKENS), 1)
    batches = islice(steps(examples(tokenizer, seed), tokenizer.pad_token_id), total)
    for groups in tqdm(batches, total=total, unit="step", disable=not progress, mininterval=2.0):
        pace = min((len(losses) + 1) / WARMUP, 1.0) * max(1 - len(losses) / total, 0.02)
        losses.append(backward(model, groups))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = ADAM_RATE * pace
        adam.step()
        muon.step(MUON_RATE * pace)
        model.zero_grad()
    save(model, tokenizer, out_dir)
    last = losses[-max(total // 10, 1) :]
    return sum(last) / len(last)


class Group(NamedTuple):
    """Examples of similar length, padded on the right: ids (B, T) int64 and weights (B, T) float32, 0 on the padding."""

    ids: torch.Tensor
    weights: torch.Tensor


def texts(seed: int) -> Iterator[tuple[str, list[Piece]]]:
    """Infinite iterator over (prompt with the template, pieces of the completion) of the train split."""
    rng = random.Random(f"families|cold start|{seed}")
    grid = cells()
    shares = [LEVEL_SHARES[level - 1] for level, _ in grid]
    for index in count():
        drilled = index < DRILLED
        if drilled or rng.random() < DRILLS:
            listed, pieces = drill(rng, SHORT_LIST if drilled else LONG_LIST)
            yield Setting().around(listed), [*pieces, Piece(END)]
            continue
        level, name = rng.choices(grid, shares)[0]
        item, family = problem_at("train", seed, index, level, name), FAMILIES[name]
        problem = str(item["problem"])
        setting = draw_setting(rng, NEUTRAL_SHARE, CLOSED_SHARE)
        if setting.closed:
            pieces = [Piece("\\boxed{"), Piece(str(item["answer"])), Piece("}")]
        else:
            pieces = family.trace(problem, rng, draw_habits(rng, family.MOST_LINES, MISTAKEN))
        yield setting.around(problem), [*pieces, Piece(END)]


def drill(rng: random.Random, longest: int) -> tuple[str, list[Piece]]:
    """(a list of 2 to `longest` labels with entries, some of them again in random order).

    The drill teaches to read the entry of a label, which a solution needs at every step. A tiny model learns it early from
    short lists, and late from long lists or solutions.
    """
    kind = rng.choice(("number", "step", "source", "chain"))
    if kind == "chain":
        return _chain_drill(rng, longest)
    entries = []
    for _ in range(rng.randint(2, longest)):
        sign, number = steps_of(rng, 1, rng.randrange(2))[0]
        entries.append(
            {"number": f"{rng.randrange(100)}", "step": f"{sign}{number}", "source": f"={rng.choice(LABELS)}"}[kind]
        )
    labels = LABELS[: len(entries)] if rng.random() < 0.5 else rng.sample(LABELS, len(entries))
    listed = list(zip(labels, entries, strict=True))
    pieces = []
    for label, entry in rng.choices(listed, k=rng.randint(4, 2 * longest)):
        pieces += [Piece(label, 0.0), Piece(entry, RESULT_WEIGHT), Piece("\n", 0.0)]
    return rng.choice((",", ";")).join(label + entry for label, entry in listed), [*pieces, Piece("</think>\n", 0.0)]


def _chain_drill(rng: random.Random, longest: int) -> tuple[str, list[Piece]]:
    """(a shuffled chain of assignments, the chain in order): which label has the last one as its source."""
    names = rng.sample(LABELS, rng.randint(3, longest + 1))
    chain = [f"{name}={source}" for source, name in pairwise(names)]
    pieces = [Piece(f"{names[0]}\n", 0.0), *(Piece(f"{entry}\n", RESULT_WEIGHT) for entry in chain)]
    return ";".join(rng.sample(chain, len(chain))), [*pieces, Piece("</think>\n", 0.0)]


def examples(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Example]:
    """Infinite iterator over tokenised examples of at most LONGEST tokens."""
    source = texts(seed)
    while True:
        prompts, completions = zip(*(next(source) for _ in range(CHUNK)), strict=True)
        prompt_ids = tokenizer(list(prompts)).input_ids
        written = tokenizer(
            ["".join(piece.text for piece in pieces) for pieces in completions], return_offsets_mapping=True
        )
        for start, ids, offsets, pieces in zip(
            prompt_ids, written.input_ids, written.offset_mapping, completions, strict=True
        ):
            if len(start) + len(ids) <= LONGEST:
                yield Example(start + ids, [0.0] * len(start) + token_weights(pieces, offsets))


def steps(source: Iterator[Example], pad: int) -> Iterator[list[Group]]:
    """Infinite iterator over the groups of a step: about STEP_TOKENS tokens, with examples of all lengths and little padding.

    STEPS steps are made at once: their examples are sorted by length and cut into groups, which the steps take in turn.
    """
    while True:
        found: list[Example] = []
        size = 0
        while size < STEPS * STEP_TOKENS:
            found.append(next(source))
            size += len(found[-1].ids)
        found.sort(key=lambda example: len(example.ids))
        groups: list[Group] = []
        start, seen = 0, 0
        for index, example in enumerate(found):
            seen += len(example.ids)
            if seen * STEPS * GROUPS >= size * (len(groups) + 1) or index == len(found) - 1:
                groups.append(_padded(found[start : index + 1], pad))
                start = index + 1
        yield from (groups[step::STEPS] for step in range(STEPS))


def _padded(found: list[Example], pad: int) -> Group:
    import torch

    width = len(found[-1].ids)
    ids = torch.full((len(found), width), pad)
    weights = torch.zeros(len(found), width)
    for row, example in enumerate(found):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        weights[row, : len(example.ids)] = torch.tensor(example.weights)
    return Group(ids, weights)


def backward(model: Qwen2ForCausalLM, groups: list[Group]) -> float:
    """Add the gradient of the mean weighted loss of a step, and return that loss, nats per token."""
    import torch

    total = sum(float(group.weights[:, 1:].sum()) for group in groups)
    loss = 0.0
    for group in groups:
        # No mask: the padding is on the right, where a causal model does not see it.
        hidden = model.model(input_ids=group.ids, use_cache=False).last_hidden_state
        weights = group.weights[:, 1:]
        trained = weights > 0
        logits = model.lm_head(hidden[:, :-1][trained])
        nll = torch.nn.functional.cross_entropy(logits, group.ids[:, 1:][trained], reduction="none")
        part = (nll * weights[trained]).sum() / total
        part.backward()
        loss += part.item()
    return loss


class Muon:
    """Momentum whose steps are made orthogonal by five Newton-Schulz iterations, for matrices (Jordan et al., 2024).

    torch.optim.Muon iterates in bfloat16, which a CPU without that type emulates: two thirds of a step of this model.
    """

    def __init__(self, weights: list[torch.nn.Parameter], momentum: float = 0.95, decay: float = 0.01):
        import torch

        self.weights, self.momentum, self.decay = weights, momentum, decay
        self.buffers = [torch.zeros_like(weight) for weight in weights]

    def step(self, rate: float) -> None:
        import torch

        with torch.no_grad():
            for weight, buffer in zip(self.weights, self.buffers, strict=True):
                assert weight.grad is not None
                buffer.lerp_(weight.grad, 1 - self.momentum)
                change = orthogonal(weight.grad.lerp(buffer, self.momentum))
                weight.mul_(1 - rate * self.decay)
                weight.add_(change, alpha=-rate * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix (m, n) with its singular values near 1, by a quintic iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = found @ found.T
        found = 3.4445 * found + (-4.7750 * square + 2.0315 * square @ square) @ found
    return found if wide is matrix else found.T
