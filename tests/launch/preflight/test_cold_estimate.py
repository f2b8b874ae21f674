"""A cold start is part of the plan: its rollouts, its steps, its hours and its memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tersely.configs.dataset import SourceSpec
from tersely.configs.load import load_recipe
from tersely.core.findings import Finding
from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.cold_estimate import cold_estimate
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.outline import dry_run_lines
from tersely.launch.preflight.run import before_cold_start
from tersely.rl.check import check_stage
from tersely.rl.config import checked

SMALL = Shape(1_777_000_000, 28, 1536, 8960, 12, 2, 128, 151_936)


def staged(**changes):
    base = {"method": "selfbudgeter", "max_steps": 8, "prompts_per_step": 8, "max_completion_length": 4096, **changes}
    return [check_stage(stage) for stage in checked(load_recipe("testbed/grpo", base)).stages]


def test_hours_are_those_of_sampling_and_training_by_hand():
    stage = staged(prompts_per_step=8)[0]
    plan = cold_estimate(stage, rows=4096)
    spec = stage.cold_start
    assert plan.rollouts == spec.prompts * spec.samples + 4096, "this rewrite measures every problem once"
    assert cold_estimate(stage, rows=100).rollouts == 100 * spec.samples + 100, "fewer problems than prompts"
    there = time_estimate.target(SimpleNamespace(gpus=4, gpu_memory=80), stage.run)
    hours = plan.hours(SMALL, there, 2048, 200)
    assert set(hours) == {"A100", "H100"}
    tokens = plan.steps * plan.batch_size * 2248
    training = tokens * (2 * 1.777e9 + 2 * 28 * 1536 * 2248) * (4 if plan.checkpointing else 3) / (0.25 * 989e12)
    assert hours["H100"] * 3600 > training > 0
    longer = cold_estimate(staged()[0], 4096)
    object.__setattr__(longer, "steps", plan.steps + 1000)
    more = (longer.hours(SMALL, there, 2048, 200)["H100"] - hours["H100"]) * 3600
    assert more == pytest.approx(training * 1000 / plan.steps, rel=1e-6)
    trial = SimpleNamespace(mean_tokens=100.0, tokens_per_s=1000.0)
    here = plan.seconds_here(trial, 2.0, plan.batch_size, 1)
    assert here == pytest.approx(plan.rollouts * 0.1 + plan.steps * 2.0)


def test_the_dry_run_counts_its_tokens_and_says_what_it_does():
    stages = staged()
    there = time_estimate.Target(1, None)
    lines = list(dry_run_lines(stages, there, "none", 100.0))
    without = list(dry_run_lines(stages[1:], there, "none", 100.0))
    plan = cold_estimate(stages[0], 4096)
    assert lines[0] == plan.line() and f"{plan.rollouts:,} rollouts" in lines[0]
    tokens = [line.split()[2] for line in (lines[2], without[1])]
    millions = [float(one.rstrip("M").replace(",", "")) * (1 if one.endswith("M") else 1e-6) for one in tokens]
    assert millions[0] - millions[1] == pytest.approx(plan.rollouts * 100 / 1e6, abs=0.1)


def test_what_the_model_does_before_its_cold_start_refuses_nothing():
    flat = Finding("fail", "reward", "the total reward is the same", "see the pass rate")
    assert before_cold_start(flat).level == "note" and "before the cold start" in before_cold_start(flat).text
    fine = Finding("ok", "tokens", "76 mean")
    assert before_cold_start(fine) is fine


def test_rows_of_a_local_file_are_counted_and_tokens_are_never_zero_millions(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"problem": "1 + 1", "answer": "2"}\n' * 3)
    assert time_estimate.known_rows([SourceSpec(path=str(path))]) == 3
    assert time_estimate.known_rows([SourceSpec(path=str(path)), SourceSpec(path=str(path), limit=2)]) == 5
    assert time_estimate.known_rows([SourceSpec(path="someone/sums")]) is None
    assert [time_estimate.amount(tokens) for tokens in (3072, 2_400_000, 838_860_800)] == ["3,072", "2.4M", "839M"]
