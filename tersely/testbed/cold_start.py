"""The cold start of the testbed's model: supervised training from scratch on generated traces, in one plain loop.

Matrices are trained by Muon, the rest by AdamW. Deterministic for a seed, a number of threads and a torch version.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tersely.testbed.families import FAMILIES
from tersely.testbed.families.problems import cells, problem_at
from tersely.testbed.families.search import value, write_test
from tersely.testbed.families.writing import (
    LABELS,
    MODULUS,
    RESULT_WEIGHT,
    UNKNOWN_FACTORS,
    Habits,
    Piece,
    Thought,
    applied,
    draw_habits,
    hard_step,
    is_known,
)
from tersely.testbed.families.writing import steps as steps_of
from tersely.testbed.neutral import Setting, draw_setting
from tersely.testbed.tokenizer import END, MAX_LENGTH, build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

HIDDEN, LAYERS, INTERMEDIATE, HEAD = 96, 4, 288, 32
TOKENS = 18_000_000
LONGEST, STEP_TOKENS, GROUPS, STEPS = 512, 4096, 4, 8
MUON_RATE, ADAM_RATE, WARMUP = 0.02, 3e-3, 60
LEVEL_SHARES = (5, 5, 4, 3, 3)
NEUTRAL_SHARE, CLOSED_SHARE, MISTAKEN = 0.1, 0.02, 0.1
CHUNK = 512
DRILLS, SHORT_LIST, LONG_LIST = 0.15, 5, 20
"""Share of drills among the examples, and the longest lists of drills: at the start, and after it."""


class Cycle(NamedTuple):
    """A part of the training with new problems, new optimizers and rates of its own."""

    share: float
    """Of all tokens."""
    peak: float
    """The highest learning rates, as a factor."""
    drilled: int
    """Examples at the start that are all drills, on short lists."""
    redundancy: float
    """Factor of the most redundant looks of a solution (`MOST_LOOKS` of its family)."""


CYCLES = (Cycle(12 / 18, 1.0, 18_000, 0.15), Cycle(6 / 18, 0.5, 0, 1.3))
"""The model learns to solve problems first, and to be redundant at last."""


def cold_start(out_dir: str | Path, seed: int = 0, tokens: int = TOKENS, progress: bool = True) -> float:
    """Train a new model for about `tokens` tokens, prompts included, and save it with its tokenizer in `out_dir`.

    The model after cycle n is kept in `out_dir`/cycle-n, and a run that was stopped goes on after its last cycle, with the same
    result. Returns the mean weighted loss of the last tenth of the last cycle, nats per token; NaN if that was done before.
    """
    import torch
    from transformers import Qwen2ForCausalLM

    tokenizer = build_tokenizer()
    folders = [Path(out_dir) / f"cycle-{number}" for number in range(1, len(CYCLES) + 1)]
    done = sum((folder / "config.json").exists() for folder in folders)
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM.from_pretrained(folders[done - 1], dtype="float32") if done else new_model(tokenizer)
    losses: list[float] = []
    for number, cycle in list(enumerate(CYCLES))[done:]:
        source = examples(tokenizer, seed + number, cycle.drilled, cycle.redundancy)
        groups = steps(source, tokenizer.pad_token_id)
        losses = train(model, groups, round(tokens * cycle.share), cycle.peak, progress)
        save(model, tokenizer, folders[number])
    save(model, tokenizer, out_dir)
    last = losses[-max(len(losses) // 10, 1) :]
    return sum(last) / len(last) if last else float("nan")


def train(
    model: Qwen2ForCausalLM, source: Iterator[list[Group]], tokens: int, peak: float, progress: bool
) -> list[float]:
    """Train for about `tokens` tokens at rates that fall linearly from `peak` times their highest; the losses of the steps."""
    import torch
    from tqdm import tqdm

    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    muon = Muon(matrices)
    adam = torch.optim.AdamW(
        [weight for weight in model.parameters() if id(weight) not in chosen], betas=(0.9, 0.98), weight_decay=0.01
    )
    losses: list[float] = []
    total = max(-(-tokens // STEP_TOKENS), 1)
    for groups in tqdm(islice(source, total), total=total, unit="step", disable=not progress, mininterval=2.0):
        pace = peak * min((len(losses) + 1) / WARMUP, 1.0) * max(1 - len(losses) / total, 0.02)
        losses.append(backward(model, groups))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = ADAM_RATE * pace
        adam.step()
        muon.step(MUON_RATE * pace)
        model.zero_grad()
    return losses


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A new Qwen2 with an untied head and head size 32, which every engine supports on CPU."""
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
    end = tokenizer.eos_token_id
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=end)
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)


class Example(NamedTuple):
    """Token ids of prompt and completion, and the weight of each in the loss: 0 on the prompt."""

    ids: list[int]
    weights: list[float]


class Group(NamedTuple):
    """Examples of similar length, padded on the right: ids (B, T) int64 and weights (B, T) float32, 0 on the padding."""

    ids: torch.Tensor
    weights: torch.Tensor


def texts(seed: int, drilled: int = 0, redundancy: float = 1.0) -> Iterator[tuple[str, list[Piece]]]:
    """Infinite iterator over (prompt with the template, pieces of the completion) of training problems; drills come first."""
    rng = random.Random(f"families|cold start|{seed}")
    grid = cells()
    shares = [LEVEL_SHARES[level - 1] for level, _ in grid]
    for index in count():
        first = index < drilled
        if first or rng.random() < DRILLS:
            listed, pieces = drill(rng, SHORT_LIST if first else LONG_LIST)
            yield Setting().around(listed), [*pieces, Piece(END)]
            continue
        level, name = rng.choices(grid, shares)[0]
        item, family = problem_at("train", seed, index, level, name), FAMILIES[name]
        problem = str(item["problem"])
        if not is_known(problem):
            continue
        setting = draw_setting(rng, NEUTRAL_SHARE, CLOSED_SHARE)
        if setting.closed:
            pieces = [Piece("\\boxed{"), Piece(str(item["answer"])), Piece("}")]
        else:
            pieces = family.trace(problem, rng, draw_habits(rng, redundancy * family.MOST_LOOKS, MISTAKEN))
        yield setting.around(problem), [*pieces, Piece(END)]


def drill(rng: random.Random, longest: int) -> tuple[str, list[Piece]]:
    """(a list of 2 to `longest` labels with entries, lines about some of them in random order).

    The drills teach what a solution needs at every step, and what a tiny model learns early from short lists and late from
    solutions: to read the entry of a label (a number, a step, an arrow), to follow arrows, to multiply, and to compare the
    result of a test with a target, where half of the tests succeed.
    """
    kind = rng.choice(("number", "step", "arrow", "chain", "product", "test", "test"))
    if kind == "chain":
        return _chain_drill(rng, longest)
    if kind == "test":
        return _test_drill(rng, longest)
    size = rng.randint(2, longest)
    labels = LABELS[:size] if rng.random() < 0.5 else rng.sample(LABELS, size)
    if kind == "number":
        entries = [str(rng.randrange(MODULUS)) for _ in labels]
    elif kind == "arrow":
        entries = [f">{target}" for target in rng.sample(LABELS, size)]
    elif kind == "step":
        entries = [f"{sign}{number}" for sign, number in steps_of(rng, size, size // 2)]
    else:
        entries = [f"*{_known_factor(rng)}" for _ in labels]
    thought = Thought(rng, Habits())
    for label, entry in rng.choices(list(zip(labels, entries, strict=True)), k=rng.randint(4, 2 * longest)):
        thought.write(label, 0.0)
        thought.write(entry, RESULT_WEIGHT)
        if kind == "product":
            left = rng.randrange(MODULUS)
            thought.write(f" {left} = ", 0.0)
            thought.result(applied(left, "*", int(entry[1:])))
        thought.write("\n", 0.0)
    return _listed(rng, labels, entries), [*thought.pieces, Piece("</think>\n", 0.0)]


def _listed(rng: random.Random, labels: Sequence[str], entries: Sequence[str]) -> str:
    return rng.choice((",", ";")).join(f"{label}{entry}" for label, entry in zip(labels, entries, strict=True))


def _known_factor(rng: random.Random) -> int:
    while True:
        factor = hard_step(rng)[1]
        if factor not in UNKNOWN_FACTORS:
            return factor


def _test_drill(rng: random.Random, longest: int) -> tuple[str, list[Piece]]:
    """(numbers and an equation without its target, tests of some of them with targets that come from nowhere)."""
    size = rng.randint(2, longest)
    numbers = rng.sample(range(MODULUS), size)
    while True:
        equation = steps_of(rng, rng.choice((1, 1, 2)), rng.randint(0, 1))
        wanted = "".join(f"{sign}{number}" for sign, number in equation)
        if is_known(wanted):
            break
    thought = Thought(rng, Habits(short_test=0.4))
    for index in rng.choices(range(size), k=max(rng.randint(4, 2 * longest) // (1 + len(equation)), 2)):
        result = value(numbers[index], equation)
        target = rng.choice((result, result, (result + 10 * rng.randint(1, 9)) % MODULUS, rng.randrange(MODULUS)))
        write_test(thought, LABELS[index], numbers[index], equation, target, target_weight=0.0)
        if target != result:
            thought.write("\n", 0.0)
    listed = _listed(rng, LABELS[:size], [str(number) for number in numbers])
    return f"{listed} solves x{wanted}", [*thought.pieces, Piece("</think>\n", 0.0)]


def _chain_drill(rng: random.Random, longest: int) -> tuple[str, list[Piece]]:
    """(a shuffled chain of arrows with a goal, the chain in order up to the goal): each begins where the one before ends."""
    names = rng.sample(LABELS, rng.randint(3, longest + 1))
    chain = [f"{source}>{name}" for source, name in pairwise(names)]
    stop = rng.randrange(1, len(names))
    pieces = [Piece(f"{names[0]}\n", 0.0)]
    for source, name in pairwise(names[: stop + 1]):
        pieces += [Piece(source), Piece(f">{name}", RESULT_WEIGHT), Piece("\n", 0.0)]
    pieces += [Piece(names[stop]), Piece("?", RESULT_WEIGHT), Piece("\n", 0.0), Piece("</think>\n", 0.0)]
    return f"{';'.join(rng.sample(chain, len(chain)))}. What is it after {names[stop]}?", pieces


def examples(
    tokenizer: PreTrainedTokenizerFast, seed: int, drilled: int = 0, redundancy: float = 1.0
) -> Iterator[Example]:
    """Infinite iterator over tokenised examples of at most LONGEST tokens."""
    source = texts(seed, drilled, redundancy)
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


def token_weights(pieces: list[Piece], offsets: list[tuple[int, int]]) -> list[float]:
    """For each token of a completion, the weight of its piece."""
    weights, at, end = [], -1, 0
    for start, _ in offsets:
        while start >= end:
            at += 1
            end += len(pieces[at].text)
        weights.append(pieces[at].weight)
    return weights


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
