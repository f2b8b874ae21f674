"""Real rollouts on a few groups before the run, with the recipe's prompts, engine, verifier and reward."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.engines.base import Engine
from tersely.rl.guards.registry import Repetition, Undecided, guards_of

TRUNCATED = (0.1, 0.5)
"""Share of rollouts stopped by the cap: above the first the length signal is blunt, above the second nothing is learned."""
DROWNS = 3.0
"""Mean size of a reward term, in correct answers, above which correctness hardly counts."""
HARDLY = 1e-3
"""Size of the largest term below which it moves nothing, unless the advantage divides by the spread."""
FEW_MIXED = 0.1
HIGH = 0.95
WIDE = 0.25
"""Width of the interval of the pass rate above which more rollouts are advised."""


@dataclass(frozen=True)
class Trial:
    """What the rollouts showed."""

    facts: list[Any]
    metrics: dict[str, float]
    constant: dict[str, float]
    """Reward terms that have one value for all decided rollouts."""
    unknown: list[str]
    """Terms that cannot be computed outside a trainer."""
    flat: bool
    """The whole reward is one value."""
    mean_tokens: float
    tokens_per_s: float
    rollouts: int
    prompt_tokens: float = 200.0
    pass_rates: tuple[float, ...] = ()
    """Of each prompt, decided rollouts only."""
    kept: float = 1.0
    """Share of groups that the filter keeps."""
    sizes: dict[str, float] = dataclasses.field(default_factory=dict)
    """Of each reward term, the mean of its absolute weighted part beside the outcome; a correct answer is worth 1."""
    divides: bool = False
    """Does the advantage divide by the spread, so that the size of a term does not matter where a group is all right?"""


def try_rollouts(
    run: Any, objective: Any, args: Any, tokenizer: Any, dataset: Any, engine: Engine, number: int
) -> Trial:
    """At least `number` rollouts in whole groups, those that step 1 of the run would draw first."""
    from tersely.core.memory import PromptMemory
    from tersely.rewards.verify.build import make_verifier
    from tersely.rewards.verify.verdicts import verdicts_of
    from tersely.rl.rollouts.record import group_metrics, rollouts_from_records
    from tersely.rl.rollouts.rollout import RolloutRound, Template

    import torch  # isort: skip

    size, memory = run.group_size, PromptMemory()
    rows = [dataset[i] for i in first_prompts(run, args, len(dataset), math.ceil(number / size)) for _ in range(size)]
    plans = objective.prompting([row["prompt_id"] for row in rows[::size]], size, memory, args.seed)
    template = Template.of(tokenizer, args.chat_template_kwargs)
    batch = RolloutRound(rows, plans, tokenizer, template, dict(args.chat_template_kwargs or {}))
    batch.tokenize()
    cap = args.max_completion_length
    requests = batch.requests(seed=args.seed, step=0, first_row=0, group_size=size, cap=cap)
    first = dataclasses.replace(requests[0], max_new_tokens=1)
    engine.generate([first], temperature=args.temperature)  # kernels are built at the first call, which is not timed
    began = time.perf_counter()
    batch.finish(engine.generate(requests, temperature=args.temperature, top_p=args.top_p, top_k=args.top_k or 0))
    seconds = time.perf_counter() - began
    verifier = make_verifier(run.verifier)
    try:
        verdicts = verdicts_of(verifier, rows, batch.texts)
    finally:
        verifier.close()
    facts = batch.records(verdicts, objective.prompting.parse, verifier.ended)
    completions = [torch.tensor(list(g.token_ids)) for g in batch.generations]
    token_ids = torch.nn.utils.rnn.pad_sequence(completions, batch_first=True, padding_value=-1)
    rollouts = rollouts_from_records(facts, size, cap, 0.0, memory, token_ids)
    metrics = group_metrics(rollouts, facts, torch.ones(len(plans) // size, dtype=torch.bool))
    metrics["truncated"] = rollouts.truncated.double().mean().item()
    constant, unknown, flat = _terms(objective.reward, rollouts)
    tokens = rollouts.length.sum().item()
    groups = rollouts.correct.view(-1, size).nanmean(1)
    return Trial(
        facts,
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


def first_prompts(run: Any, args: Any, rows: int, groups: int) -> list[int]:
    """Row numbers of the prompts that the run takes first, in its own order, none twice."""
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


def _kept(objective: Any, rollouts: Any) -> float:
    """Share of groups that the filter keeps; 1 where it needs what only a trainer has."""
    try:
        return objective.filter(rollouts).double().mean().item()
    except (ValueError, IndexError, KeyError, RuntimeError, TypeError):
        return 1.0


def _divides(advantage: Any, rollouts: Any) -> bool:
    try:
        one, double = (advantage(factor * rollouts.correct.nan_to_num(), rollouts) for factor in (1, 2))
        return bool(one.any()) and bool((one - double).abs().max() < 0.02 * one.abs().max())
    except Exception:  # it needs what only a trainer has
        return True


def interval(rates: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean pass rate over prompts: Wilson's, at as many independent draws as the spread amounts to.

    Rollouts of one prompt are alike, so a group of sixteen tells less than sixteen prompts.
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
    """Terms with one value, terms that need what only a trainer has, and whether the sum has one value."""
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
    """Mean absolute value of each term beside the outcome, for one correct answer; empty where no term holds the outcome."""
    terms = list(zip(reward.names, reward.terms, reward.weights, strict=True))
    known = rollouts.decided
    if not bool(known.any()):
        return {}
    beside, outcome, correct = {}, 0.0, rollouts.correct[known]
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
        if size or not whole:  # the bare outcome has nothing beside it
            beside[name] = size
    return {name: size / outcome for name, size in beside.items()} if outcome else {}


def _worth(values: Any, correct: Any) -> float:
    """What a term that holds the outcome pays a correct answer for being correct: 1, or more where it pays in larger units."""
    right, wrong = values[correct == 1], values[correct == 0]
    if not len(right):
        return 1.0
    paid = right.nanmedian().item()
    return max(1.0, min(paid, paid - wrong.nanmedian().item()) if len(wrong) else paid)


def size_findings(sizes: dict[str, float], divides: bool = False) -> Iterator[Finding]:
    """The size of every term against the outcome; one that drowns it fails. `divides`: see `Trial`."""
    if not sizes:
        return
    text = ", ".join(f"{name} {size:.3g}" for name, size in sizes.items())
    text = f"beside the outcome, terms are worth {text} on average (a correct answer is worth 1)"
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > DROWNS:
        mend = f"lower the weight or the strength of {largest}, or start from the values of its shipped preset"
        yield Finding("fail", "reward size", f"{text}: {largest} drowns it", mend)
    elif 0 < sizes[largest] < HARDLY and not divides:
        mend = (
            "a larger strength, or an advantage that divides by the spread, which lifts it where a group is all right"
        )
        yield Finding("warn", "reward size", f"{text}: hardly anything", mend)
    else:
        yield Finding("warn" if sizes[largest] > 1 else "ok", "reward size", text)


def judge(trial: Trial, run: Any, cap: int) -> Iterator[Finding]:
    """The trial in findings."""
    m = trial.metrics
    yield _truncation(m["truncated"], trial.mean_tokens, cap)
    yield pass_rate(trial)
    shares = (
        f"{m['groups/mixed']:.0%} mixed, {m['groups/all_right']:.0%} all right, {m['groups/all_wrong']:.0%} all wrong"
    )
    if m["groups/mixed"] < FEW_MIXED:
        mend = "other problems, or a larger group_size: correctness speaks in mixed groups alone"
        yield Finding("warn", "groups", shares, mend)
    else:
        yield Finding("ok", "groups", shares)
    yield _undecided(m["verify/undecided"], _undecided_limit(run.guards))
    yield from _loops(m.get("efficiency/repetitive", 0.0), run.guards)
    yield from size_findings(trial.sizes, trial.divides)
    for name, value in trial.constant.items():
        mend = "a format term that the template or the instruction can never meet looks like this" if not value else ""
        yield Finding("warn", "reward", f"{name} is {value:g} for every rollout: it teaches nothing here", mend)
    for name in trial.unknown:
        yield Finding("note", "reward", f"{name} needs what only the trainer has, and was not computed")
    if trial.flat:
        mend = "see pass rate and the constant terms"
        yield Finding("fail", "reward", "the whole reward is the same for every rollout: no gradient", mend)
    yield Finding("ok", "tokens", f"{trial.mean_tokens:.0f} mean, p95 {m['efficiency/tokens_p95']:.0f}")


def pass_rate(trial: Trial) -> Finding:
    """The mean over prompts with its interval, which a few prompts leave wide."""
    accuracy, wide = trial.metrics["verify/accuracy"], ""
    text = f"{accuracy:.1%} of {trial.rollouts} rollouts"
    if trial.pass_rates:
        low, high = interval(trial.pass_rates)
        count = len(trial.pass_rates)
        text = f"{accuracy:.1%} [{low:.0%}, {high:.0%}] from {count} prompts, {trial.rollouts} rollouts"
        wide = f"a closer estimate: --rollouts {4 * trial.rollouts}" if high - low > WIDE else ""
    if not accuracy > 0:
        mend = "easier problems, a stronger model, a longer cap; look at the rollouts with --show"
        return Finding("fail", "pass rate", f"{text}: none is correct, there is nothing to learn from", mend)
    if accuracy > HIGH:
        return Finding("warn", "pass rate", text, "harder problems, unless only length is to be learned")
    return Finding("note" if wide else "ok", "pass rate", text, wide)


def _truncation(share: float, mean: float, cap: int) -> Finding:
    text = f"{share:.0%} of the rollouts stop at the cap of {cap} (mean {mean:.0f} tokens)"
    if share > TRUNCATED[1]:
        return Finding("fail", "truncation", text, "a longer max_completion_length, or easier problems")
    if share > TRUNCATED[0]:
        return Finding("warn", "truncation", text, "a longer max_completion_length")
    return Finding("ok", "truncation", text)


def _loops(share: float, section: dict[str, Any]) -> Iterator[Finding]:
    """Completions that end in a loop before anything was trained, against the guard's threshold."""
    guard = guards_of(section).get("repetition")
    if isinstance(guard, Repetition) and share > guard.threshold:
        mend = "look at them by --show 3; a template or a temperature that the model does not know looks like this"
        yield Finding("warn", "repetition", f"{share:.0%} of the rollouts end in a loop", mend)


def _undecided_limit(section: dict[str, Any]) -> float:
    """Share above which the run would stop; 1 where it would not."""
    guard = guards_of(section).get("undecided")
    return guard.threshold if isinstance(guard, Undecided) and guard.action == "stop" else 1.0


def _undecided(share: float, limit: float) -> Finding:
    text = f"{share:.1%} of the verdicts are undecided"
    if share > limit:
        mend = "raise verifier: {timeout: ..., memory_mb: ...}, or guards: {undecided: {threshold: ...}}"
        return Finding("fail", "verifier", f"{text}, and the run stops above {limit:g}", mend)
    return Finding("warn" if share > limit / 2 else "ok", "verifier", text)
