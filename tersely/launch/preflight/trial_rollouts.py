"""Samples and scores a few groups before the run, with the recipe's prompts, engine, verifier and reward."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tersely.configs.guards import RepetitionSpec, UndecidedSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.engines.base import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig

    from tersely.algorithms.objective import Objective

TRUNCATED = (0.1, 0.5)
"""Share of truncated rollouts: above the first value the length signal is weak, above the second nothing is learned."""
DROWNS = 3.0
"""Mean size of a reward term, in units of a correct answer, above which correctness hardly counts."""
HARDLY = 1e-3
"""Size of the largest term below which it has no effect, unless the advantage divides by the standard deviation."""
FEW_MIXED = 0.1
HIGH = 0.95
WIDE = 0.25
"""Width of the pass rate's interval above which preflight suggests more rollouts."""


@dataclass(frozen=True)
class Trial:
    """Results of the trial rollouts."""

    records: list[Any]
    metrics: dict[str, float]
    constant: dict[str, float]
    """Reward terms with the same value for all decided rollouts."""
    unknown: list[str]
    """Terms that cannot be computed outside a trainer."""
    flat: bool
    """True if the total reward is the same for all rollouts."""
    mean_tokens: float
    tokens_per_s: float
    rollouts: int
    prompt_tokens: float = 200.0
    pass_rates: tuple[float, ...] = ()
    """Pass rate of each prompt, over decided rollouts."""
    kept: float = 1.0
    """Share of groups that the filter keeps."""
    sizes: dict[str, float] = dataclasses.field(default_factory=dict)
    """Mean absolute weighted value of each reward term without its outcome part; a correct answer counts 1."""
    divides: bool = False
    """True if the advantage divides by the standard deviation: then term sizes do not matter in all-correct groups."""


def try_rollouts(
    run: Recipe,
    objective: Objective,
    args: GRPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Any,
    engine: Engine,
    number: int,
) -> Trial:
    """Sample at least `number` rollouts in whole groups, on the prompts of step 1."""
    from tersely.core.memory import PromptMemory
    from tersely.rewards.verify.build import make_verifier
    from tersely.rl.rollouts.exits import generate_exits
    from tersely.rl.rollouts.phased import generate_rows, with_budget
    from tersely.rl.rollouts.record import group_metrics, rollouts_from_records
    from tersely.rl.rollouts.rollout import RolloutRound, Template

    import torch  # isort: skip

    size, memory = run.group_size, PromptMemory()
    rows = [dataset[i] for i in first_prompts(run, args, len(dataset), math.ceil(number / size)) for _ in range(size)]
    plans = objective.prompting.plans([row["prompt_id"] for row in rows[::size]], size, memory, args.seed)
    plans = [with_budget(plan, run.thinking_budget, 0.0) for plan in plans]
    template = Template.of(tokenizer, args.chat_template_kwargs)
    batch = RolloutRound(rows, plans, tokenizer, template, dict(args.chat_template_kwargs or {}))
    batch.tokenize()
    cap = args.max_completion_length
    requests = batch.requests(seed=args.seed, step=0, first_row=0, group_size=size, cap=cap)
    first = dataclasses.replace(requests[0], max_new_tokens=1)
    engine.generate([first], temperature=args.temperature)  # the first call compiles kernels and is not timed
    began = time.perf_counter()
    how = {"temperature": args.temperature, "top_p": args.top_p, "top_k": args.top_k or 0}
    decode = generate_exits if plans[0].exit is not None else generate_rows
    batch.finish(decode(batch, requests, lambda asked: engine.generate(asked, **how)))
    seconds = time.perf_counter() - began
    verifier = make_verifier(run.verifier)
    try:
        verdicts = verifier.verify_rows(rows, batch.texts)
    finally:
        verifier.close()
    records = batch.records(verdicts, objective.prompting.parse, verifier.ended)
    completions = [torch.tensor(list(g.token_ids)) for g in batch.generations]
    token_ids = torch.nn.utils.rnn.pad_sequence(completions, batch_first=True, padding_value=-1)
    rollouts = rollouts_from_records(records, size, cap, 0.0, memory, token_ids)
    metrics = group_metrics(rollouts, records, torch.ones(len(plans) // size, dtype=torch.bool))
    metrics["truncated"] = rollouts.truncated.double().mean().item()
    constant, unknown, flat = _terms(objective.reward, rollouts)
    tokens = rollouts.length.sum().item()
    groups = rollouts.correct.view(-1, size).nanmean(1)
    return Trial(
        records,
        metrics,
        constant,
        unknown,
        flat,
        tokens / len(rows),
        tokens / max(seconds, 1e-9),
        len(rows),
        prompt_tokens=sum(len(request.prompt_ids) for request in requests) / len(rows),
        pass_rates=tuple(groups[~groups.isnan()].tolist()),
        kept=_kept(objective, rollouts),
        sizes=term_sizes(objective.reward, rollouts),
        divides=_divides(objective.advantage, rollouts),
    )


def first_prompts(run: Recipe, args: GRPOConfig, rows: int, groups: int) -> list[int]:
    """Row numbers of the run's first prompts, in order, without repeats."""
    from tersely.rl.rollouts.prompt_sampler import PromptStream

    groups = max(1, min(groups, rows))
    if getattr(args, "shuffle_dataset", True) is False:
        return list(range(groups))
    stream = PromptStream(rows, min(run.prompts_per_step, rows), run.group_size, 1, 1, args.seed, shuffle=True)
    taken: dict[int, None] = {}
    number = 0
    while len(taken) < groups:
        taken.update(dict.fromkeys(stream.batch(number)))
        number += 1
    return list(taken)[:groups]


def _kept(objective: Objective, rollouts: Any) -> float:
    """Share of groups that the filter keeps; 1 if the filter needs a trainer."""
    try:
        return objective.filter(rollouts).double().mean().item()
    except (ValueError, IndexError, KeyError, RuntimeError, TypeError):
        return 1.0


def _divides(advantage: Any, rollouts: Any) -> bool:
    try:
        one, double = (advantage(factor * rollouts.correct.nan_to_num(), rollouts) for factor in (1, 2))
        return bool(one.any()) and bool((one - double).abs().max() < 0.02 * one.abs().max())
    except Exception:  # the filter needs a trainer
        return True


def interval(rates: Sequence[float]) -> tuple[float, float]:
    """95 % Wilson interval of the mean pass rate over prompts, with the effective number of independent samples.

    Rollouts of one prompt are correlated, so sixteen rollouts of one prompt count less than sixteen prompts.
    """
    count = len(rates)
    mean = sum(rates) / count
    spread = sum((rate - mean) ** 2 for rate in rates) / max(1, count - 1) / count
    draws = max(1.0, min(mean * (1 - mean) / spread, 1e6)) if spread > 0 else float(count)
    z2 = 1.96**2
    middle = (mean + z2 / (2 * draws)) / (1 + z2 / draws)
    half = 1.96 / (1 + z2 / draws) * math.sqrt(mean * (1 - mean) / draws + z2 / (4 * draws**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _terms(reward: Any, rollouts: Any) -> tuple[dict[str, float], list[str], bool]:
    """(constant terms, terms that need a trainer, whether the sum is constant)."""
    from tersely.core.reward_sum import checked

    constant, unknown, total = {}, [], 0.0
    for name, term, weight in zip(reward.names, reward.terms, reward.weights, strict=True):
        try:
            values = checked(name, term(rollouts), rollouts)[rollouts.decided]
        except ConfigError:
            raise
        except ValueError:
            unknown.append(name)
            continue
        if len(values) and values.min() == values.max():
            constant[name] = values[0].item()
        total = total + weight * values
    flat = not unknown and not isinstance(total, float) and bool(len(total)) and bool(total.max() - total.min() < 1e-9)
    return constant, unknown, flat


def term_sizes(reward: Any, rollouts: Any) -> dict[str, float]:
    """Mean absolute value of each term without its outcome part, per correct answer; empty without an outcome term."""
    terms = list(zip(reward.names, reward.terms, reward.weights, strict=True))
    known = rollouts.decided
    if not bool(known.any()):
        return {}
    sizes, outcome, correct = {}, 0.0, rollouts.correct[known]
    for name, term, weight in terms:
        whole = term.includes_outcome
        try:
            values = term(rollouts)[known]
        except ValueError:
            outcome += abs(weight) * whole
            continue
        worth = _worth(values, correct) if whole else 0.0
        outcome += abs(weight) * worth
        size = (weight * (values - worth * correct)).abs().nanmean().item()
        if size or not whole:  # the plain outcome has no other part
            sizes[name] = size
    return {name: size / outcome for name, size in sizes.items()} if outcome else {}


def _worth(values: Any, correct: Any) -> float:
    """Reward that a term with the outcome gives for correctness: 1, or more if it uses larger units."""
    correct_values, incorrect_values = values[correct == 1], values[correct == 0]
    if not len(correct_values):
        return 1.0
    paid = correct_values.nanmedian().item()
    return max(1.0, min(paid, paid - incorrect_values.nanmedian().item()) if len(incorrect_values) else paid)


def size_findings(sizes: dict[str, float], divides: bool = False) -> Iterator[Finding]:
    """Compare the size of each term with the outcome; a term that outweighs it fails. `divides`: see `Trial`."""
    if not sizes:
        return
    text = ", ".join(f"{name} {size:.3g}" for name, size in sizes.items())
    text = f"terms other than the outcome are worth {text} on average (a correct answer is worth 1)"
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > DROWNS:
        fix = f"lower the weight or the strength of {largest}, or start from its shipped preset"
        yield Finding("fail", "reward size", f"{text}: {largest} outweighs it", fix)
    elif 0 < sizes[largest] < HARDLY and not divides:
        fix = "raise the strength, or use an advantage that divides by the spread"
        yield Finding("warn", "reward size", f"{text}: too small to have an effect", fix)
    else:
        yield Finding("warn" if sizes[largest] > 1 else "ok", "reward size", text)


def judge(trial: Trial, run: Recipe, cap: int) -> Iterator[Finding]:
    """Findings of the trial."""
    m = trial.metrics
    yield _truncation(m["truncated"], trial.mean_tokens, cap)
    yield pass_rate(trial)
    right, wrong = m["groups/all_correct"], m["groups/all_incorrect"]
    shares = f"{m['groups/mixed']:.0%} mixed, {right:.0%} all correct, {wrong:.0%} all incorrect"
    if m["groups/mixed"] < FEW_MIXED:
        fix = "use other problems or a larger group_size: only mixed groups have a correctness signal"
        yield Finding("warn", "groups", shares, fix)
    else:
        yield Finding("ok", "groups", shares)
    yield _undecided(m["verify/undecided"], _undecided_limit(run.guards.undecided))
    yield from _loops(m.get("efficiency/repetitive", 0.0), run.guards.repetition)
    yield from size_findings(trial.sizes, trial.divides)
    for name, value in trial.constant.items():
        fix = "check whether the template and the instruction allow the required format" if not value else ""
        yield Finding("warn", "reward", f"{name} is {value:g} for every rollout: no learning signal", fix)
    for name in trial.unknown:
        yield Finding("note", "reward", f"{name} needs the trainer and was not computed")
    if trial.flat:
        fix = "see the pass rate and the constant terms"
        yield Finding("fail", "reward", "the total reward is the same for every rollout: no gradient", fix)
    yield Finding("ok", "tokens", f"{trial.mean_tokens:.0f} mean, p95 {m['efficiency/tokens_p95']:.0f}")


def pass_rate(trial: Trial) -> Finding:
    """Finding about the pass rate: the mean over prompts with its interval."""
    accuracy, wide = trial.metrics["verify/accuracy"], ""
    text = f"{accuracy:.1%} of {trial.rollouts} rollouts"
    if trial.pass_rates:
        low, high = interval(trial.pass_rates)
        count = len(trial.pass_rates)
        text = f"{accuracy:.1%} [{low:.0%}, {high:.0%}] from {count} prompts, {trial.rollouts} rollouts"
        wide = f"for a better estimate: --rollouts {4 * trial.rollouts}" if high - low > WIDE else ""
    if not accuracy > 0:
        fix = "use easier problems, a stronger model, or a longer cap; --show prints rollouts"
        return Finding("fail", "pass rate", f"{text}: no rollout is correct, so there is nothing to learn from", fix)
    if accuracy > HIGH:
        return Finding("warn", "pass rate", text, "use harder problems, unless only length should change")
    return Finding("note" if wide else "ok", "pass rate", text, wide)


def _truncation(share: float, mean: float, cap: int) -> Finding:
    text = f"{share:.0%} of the rollouts are truncated at the cap of {cap} tokens (mean {mean:.0f} tokens)"
    if share > TRUNCATED[1]:
        return Finding("fail", "truncation", text, "raise max_completion_length, or use easier problems")
    if share > TRUNCATED[0]:
        return Finding("warn", "truncation", text, "raise max_completion_length")
    return Finding("ok", "truncation", text)


def _loops(share: float, guard: RepetitionSpec | None) -> Iterator[Finding]:
    """Compare the share of completions that end in a loop, before training, with the guard's threshold."""
    if guard is not None and share > guard.threshold:
        fix = "look at rollouts with --show 3; check the chat template and the temperature"
        yield Finding("warn", "repetition", f"{share:.0%} of the rollouts end in a loop", fix)


def _undecided_limit(guard: UndecidedSpec | None) -> float:
    """Undecided share above which the run stops; 1 if it never does."""
    return guard.threshold if guard is not None and guard.action == "stop" else 1.0


def _undecided(share: float, limit: float) -> Finding:
    text = f"{share:.1%} of the verdicts are undecided"
    if share > limit:
        fix = "raise verifier: {timeout: ..., memory_mb: ...}, or guards: {undecided: {threshold: ...}}"
        return Finding("fail", "verifier", f"{text}; the run stops above {limit:g}", fix)
    return Finding("warn" if share > limit / 2 else "ok", "verifier", text)
