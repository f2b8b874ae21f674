"""Judgement of rollouts: made-up trials for the limits, real ones for what the run itself would draw."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from tersely.configs.guards import Guards
from tersely.launch.preflight.estimates import measured_lines, update_seconds
from tersely.launch.preflight.trial_rollouts import (
    Trial,
    _terms,
    first_prompts,
    interval,
    judge,
    pass_rate,
    try_rollouts,
)

RUN = SimpleNamespace(
    guards=Guards(),
    engine="transformers",
    prompts_per_step=8,
    group_size=8,
    micro_batch=4,
    updates_per_batch=2,
    max_resample_rounds=0,
    max_oversampling=1.0,
)


def trial(**changes) -> Trial:
    metrics = {
        "truncated": 0.0,
        "verify/accuracy": 0.5,
        "verify/undecided": 0.0,
        "groups/mixed": 0.5,
        "groups/all_correct": 0.25,
        "groups/all_incorrect": 0.25,
        "efficiency/tokens_p95": 90.0,
    }
    values = {"constant": {}, "unknown": [], "flat": False, "mean_tokens": 50.0, "tokens_per_s": 1000.0, "rollouts": 64}
    values |= {"kept": 1.0, "pass_rates": ()}
    values.update({key: changes.pop(key) for key in list(changes) if key in values})
    return Trial(records=[], metrics={**metrics, **changes.pop("metrics", {})}, **values)


def level_of(subject: str, given: Trial) -> str:
    return next(finding.level for finding in judge(given, RUN, 256) if finding.subject == subject)


@pytest.mark.parametrize(("share", "level"), [(0.0, "ok"), (0.1, "ok"), (0.3, "warn"), (0.5, "warn"), (0.51, "fail")])
def test_truncation(share, level):
    assert level_of("truncation", trial(metrics={"truncated": share})) == level


@pytest.mark.parametrize(("rate", "level"), [(0.0, "fail"), (float("nan"), "fail"), (0.5, "ok"), (0.99, "warn")])
def test_pass_rate(rate, level):
    assert level_of("pass rate", trial(metrics={"verify/accuracy": rate})) == level


@pytest.mark.parametrize(("share", "level"), [(0.0, "ok"), (0.15, "warn"), (0.25, "fail")])
def test_undecided_is_judged_by_the_limit_that_would_stop_the_run(share, level):
    assert level_of("verifier", trial(metrics={"verify/undecided": share})) == level


def test_loops_and_guards_that_are_off_are_judged_as_the_run_would():
    looping = trial(metrics={"efficiency/repetitive": 0.5, "verify/undecided": 0.5})
    assert level_of("repetition", looping) == "warn"
    relaxed = SimpleNamespace(
        **{**vars(RUN), "guards": Guards.of({"repetition": False, "undecided": {"action": "warn"}})}
    )
    found = {finding.subject: finding.level for finding in judge(looping, relaxed, 64)}
    assert "repetition" not in found and found["verifier"] == "ok"


def test_groups_and_rewards():
    assert level_of("groups", trial(metrics={"groups/mixed": 0.05})) == "warn"
    assert level_of("reward", trial(constant={"format": 0.0})) == "warn"
    assert level_of("reward", trial(flat=True)) == "fail"
    assert level_of("reward", trial(unknown=["ares"])) == "note"


def test_terms_with_one_value_are_found(rollouts_of):
    from tersely.core.build import build

    rollouts = rollouts_of([1, 0, 1, 0], length=[10, 20, 30, 40])
    constant, unknown, flat = _terms(
        build("reward", [{"name": "correctness"}, {"name": "soft_overlong", "cache": 16}]), rollouts
    )
    assert constant == {"soft_overlong": 0.0} and not unknown and not flat
    constant, _, flat = _terms(build("reward", [{"name": "correctness"}]), rollouts_of([0, 0, 0, 0]))
    assert list(constant) == ["correctness"] and flat


def test_the_plan_is_arithmetic_on_what_was_measured():
    args = SimpleNamespace(max_steps=20, num_iterations=1)
    lines, hours = measured_lines(trial(), 0.5, RUN, args, 2, 160, 4.0)
    # 10 batches; 32 rows a rank * 50 tokens / 1000 a second; 8 micro-batches * (1 + 1/3) * 0.5 s
    assert hours == pytest.approx(10 * (1.6 + 8 * 4 / 3 * 0.5) / 3600)
    assert "20 steps in 10 generation batches of 64 rollouts (8 prompts x 8) on 2 ranks; 0.50 epochs" in lines[0]
    assert "on 64 rollouts" in lines[2] and lines[3] == f"cost: about {hours * 4:.2f} at 4 per hour"


def test_the_plan_counts_the_rollouts_of_refused_groups():
    args = SimpleNamespace(max_steps=20, num_iterations=1)
    again = SimpleNamespace(**{**vars(RUN), "max_resample_rounds": 2})
    lines, hours = measured_lines(trial(kept=0.5), 0.5, again, args, 2, 160, None)
    # half of the groups drawn again, a quarter twice: 1 + 1/2 + 1/4 rollouts for each one of the batch
    assert hours == pytest.approx(10 * (1.6 * 1.75 + 8 * 4 / 3 * 0.5) / 3600)
    assert "1.75 rollouts" in lines[1]


def test_the_plan_counts_the_rollouts_beyond_the_batch():
    args = SimpleNamespace(max_steps=20, num_iterations=1)
    for kept, rounds, draws in ((0.5, 0, 2.0), (0.1, 0, 3.0), (0.1, 1, 3.7), (1.0, 0, 1.2)):
        run = SimpleNamespace(**{**vars(RUN), "max_oversampling": 3.0, "max_resample_rounds": rounds})
        _, hours = measured_lines(trial(kept=kept), 0.5, run, args, 2, 160, None)
        assert hours == pytest.approx(10 * (1.6 * draws + 8 * 4 / 3 * 0.5) / 3600)


def test_the_pass_rate_has_an_interval_over_prompts():
    narrow, wide = interval([0.0, 1.0] * 200), interval([0.0, 1.0] * 4)
    assert narrow[0] == pytest.approx(0.45, abs=0.01) and narrow[1] == pytest.approx(0.55, abs=0.01)
    assert wide[0] < 0.25 and wide[1] > 0.75, "eight prompts say little, however many rollouts each has"
    assert interval([1.0] * 8)[0] < 0.75 and interval([0.0] * 8)[1] > 0.25, "nor do equal ones say all"
    found = pass_rate(trial(pass_rates=(0.0, 1.0) * 4))
    assert found.level == "note" and "8 prompts, 64 rollouts" in found.text and "--rollouts 256" in found.fix
    assert pass_rate(trial(pass_rates=(0.4, 0.6) * 32)).level == "ok"


def test_the_prompts_are_the_runs_own_first_and_none_twice():
    from tersely.rl.rollouts.prompt_sampler import PromptStream

    args, stream = SimpleNamespace(seed=3), PromptStream(100, 8, 8, 1, 4, 3, True)
    assert first_prompts(RUN, args, 100, 12) == [*stream.batch(0), *stream.batch(1)][:12]
    assert sorted(first_prompts(RUN, args, 10, 99)) == list(range(10))
    assert first_prompts(RUN, SimpleNamespace(seed=3, shuffle_dataset=False), 10, 99) == list(range(10))


@pytest.fixture(scope="module")
def parts():
    """(run, objective, args, model, tokenizer, dataset) of a shipped recipe."""
    from tersely.configs.load import load_recipe
    from tersely.data import load_problems_with_card
    from tersely.engines.models import load_model
    from tersely.rl.check import check_stage
    from tersely.rl.config import checked

    recipe = load_recipe("testbed/alp", {"group_size": 4, "micro_batch": 4, "dataset": {"name": "testbed", "limit": 8}})
    stage = check_stage(checked(recipe).stages[0])
    run, objective, args = stage.run, stage.objective, stage.args
    model, tokenizer = load_model("testbed", args)
    dataset, _ = load_problems_with_card(run.dataset, seed=0)
    return run, objective, args, model, tokenizer, dataset


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_update_is_timed_as_the_training_does_it(parts, monkeypatch, checkpointing):
    """In bfloat16 under `bf16`, and through TRL's head, which never holds the logits of a batch."""
    run, _, args, model, tokenizer, dataset = parts
    monkeypatch.setattr(args, "bf16", True)
    monkeypatch.setattr(args, "gradient_checkpointing", checkpointing)
    model, seen = copy.deepcopy(model).train(), set()
    model.lm_head.register_forward_hook(lambda *_: pytest.fail("logits of every token and word were laid out"))
    layer = model.model.layers[0].mlp.down_proj
    layer.register_forward_hook(lambda module, given, result: seen.add((module.weight.dtype, result.dtype)))
    assert 0 < update_seconds(model, trial(), run, args, tokenizer, dataset) < 60
    assert seen == {(torch.float32, torch.bfloat16)} and model.is_gradient_checkpointing == checkpointing


def test_rollouts_are_those_of_the_runs_own_first_requests(parts):
    from tersely.engines.transformers import TransformersEngine

    run, objective, args, model, tokenizer, dataset = parts
    first, second = (
        try_rollouts(run, objective, args, tokenizer, dataset, TransformersEngine(model, tokenizer), 10)
        for _ in range(2)
    )
    assert first.rollouts == 12, "whole groups"
    assert [f.text for f in first.records] == [f.text for f in second.records]
    assert first.mean_tokens == pytest.approx(sum(f.length for f in first.records) / 12)
    assert 0 < first.metrics["verify/accuracy"] <= 1 and torch.isfinite(torch.tensor(first.tokens_per_s))
