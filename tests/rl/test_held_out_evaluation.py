"""Evaluation while training: on time, exact after a restart, and without a trace in what is trained."""

import dataclasses
import json
import re
from dataclasses import replace

import pytest
import torch
from support.tiny import HashVerifier

from tersely.configs.evaluation import EvaluationSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.config import checked
from tersely.rl.held_out_evaluation import HeldOutEvaluation, held_out_metrics, read_evaluations
from tersely.rl.recording.callbacks import RunFiles
from tersely.rl.recording.run_files import MetricsFile

ROWS = [
    {"prompt": [{"role": "user", "content": f"{i}-{i}="}], "problem": f"{i}-{i}=", "answer": "0", "prompt_id": f"h{i}"}
    for i in range(5)
]


@pytest.fixture
def train(make_trainer, tmp_path):
    """`train(name, evaluation, **recipe) -> (trainer, lines of metrics.jsonl, weights)`; resumes where told."""

    def go(name, evaluation=None, resume=None, **recipe):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        metrics = MetricsFile(folder / "metrics.jsonl", int(resume.rpartition("-")[2]) if resume else 0)
        trainer = make_trainer(run_dir=str(folder), max_steps=6, logging_steps=1, metrics=metrics, **recipe)
        trainer.add_callback(RunFiles(metrics, trainer.take_logged_rows))
        if evaluation:
            spec = EvaluationSpec(dataset=(), **evaluation)
            model = trainer.trained_model()
            trainer.add_callback(HeldOutEvaluation(spec, model, ROWS, metrics, trainer.guards))
        trainer.train(resume_from_checkpoint=resume)
        trainer.grader.close()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return trainer, lines, {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}

    return go


def losses(lines):
    return [(line["step"], line["loss"], line["completions/mean_length"]) for line in lines if "loss" in line]


def evaluations(lines):
    return [{k: v for k, v in line.items() if k != "eval/seconds"} for line in lines if "eval/accuracy" in line]


def test_training_is_not_disturbed(train):
    _, plain, weights = train("plain")
    _, watched, same = train("watched", {"every": 2})
    assert losses(plain) == losses(watched) and len(losses(plain)) == 6
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert [line["step"] for line in evaluations(watched)] == [0, 2, 4, 6]
    assert all(0 <= line["eval/accuracy_at_budget"] <= line["eval/accuracy"] <= 1 for line in evaluations(watched))


SHORT = {"tokens": 4, "answer_tokens": 3}


@pytest.mark.parametrize(
    ("recipe", "most"),
    [
        ({}, 12),
        ({"thinking_budget": SHORT}, 7),
        ({"thinking_budget": {**SHORT, "tokens": 2, "final_tokens": 6}}, 9),  # the last value, at every step
        ({"prompting": {"name": "elastic", "think_tokens": 5, "solution_tokens": 3}, "reward": "correctness"}, 8),
        ({"prompting": {"name": "elastic", "think_tokens": 5, "solution_tokens": 3}, "thinking_budget": SHORT}, 8),
        ({"prompting": {"name": "s_grpo", "exits": 3, "answer_tokens": 2}, "reward": "s_grpo"}, 12),  # the trace
        ({"prompting": {"name": "s_grpo", "exits": 3}, "reward": "s_grpo", "thinking_budget": SHORT}, 7),
    ],
)
def test_samples_have_the_thinking_budget_of_training(train, recipe, most):
    _, lines, _ = train("run", {"every": 6}, **recipe)
    assert [line["step"] for line in evaluations(lines)] == [0, 6]
    for line in evaluations(lines):
        assert most - 1 < line["eval/tokens_p95"] <= most and line["eval/truncated"] > 0.5


def test_the_last_step_is_evaluated_whatever_the_interval(train):
    _, lines, _ = train("odd", {"every": 4, "samples": 2, "keep_best": False})
    assert [line["step"] for line in evaluations(lines)] == [0, 4, 6]


def test_a_restart_measures_the_same_and_nothing_twice(train, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 9}
    _, whole, _ = train("run", {"every": 2, "budget": 9}, **options)
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    _, again, _ = train("run", {"every": 2, "budget": 9}, resume=str(tmp_path / "run" / "checkpoint-4"), **options)
    assert evaluations(again) == evaluations(whole) and losses(again) == losses(whole)
    found = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert {k: v for k, v in found.items() if k != "eval/seconds"} == {
        k: v for k, v in best.items() if k != "eval/seconds"
    }


def test_the_best_weights_are_those_of_their_step(train, tmp_path):
    from transformers import AutoModelForCausalLM

    seen = {}
    original = HeldOutEvaluation._keep

    def keep(self, args, step, found):
        seen[step] = {k: v.detach().clone() for k, v in self.model.weights.model().state_dict().items()}
        original(self, args, step, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldOutEvaluation, "_keep", keep)
        _, lines, _ = train("best", {"every": 1, "temperature": 0.0, "samples": 1})
    best = json.loads((tmp_path / "best" / "best" / "best.json").read_text())
    rates = {line["step"]: line["eval/accuracy_at_budget"] for line in evaluations(lines)}
    assert best["step"] == max(rates, key=lambda step: (rates[step], -step)) == max(seen)
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "best" / "best").state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[best["step"]].items())


def test_a_floor_stops_the_run_and_says_so(train, capsys, tmp_path):
    trainer, lines, _ = train("floor", {"every": 1, "floor": 1.0, "patience": 3})
    assert trainer.state.global_step == 2 and [line["step"] for line in evaluations(lines)] == [0, 1, 2]
    said = capsys.readouterr()
    assert "stopped at step 2" in said.out
    assert "eval 1/6  acc 0." in said.out
    assert train("met", {"every": 2, "floor": 0.0})[0].state.global_step == 6


def test_a_metric_line_is_the_reports_definition():
    facts = [(0, 0, 1.0, 10, False), (0, 1, 0.0, 30, True), (1, 0, float("nan"), 4, False), (1, 1, 1.0, 21, False)]
    found = held_out_metrics(facts, 2, 2, budget=20)
    assert (
        found["eval/accuracy"] == 0.75 and found["eval/accuracy_at_budget"] == 0.25 and found["eval/undecided"] == 0.25
    )
    assert found["eval/tokens_mean"] == 16.25 and found["eval/truncated"] == 0.25 and found["eval/budget"] == 20


def test_best_weights_floor_and_guard_count_answers_as_the_training_does(train):
    """All answers correct, some truncated: with `ended` those do not count, neither at the budget nor for the guard."""
    facts = [(0, 0, 1.0, 12, True), (0, 1, 1.0, 7, False), (1, 0, 1.0, 12, True), (1, 1, float("nan"), 12, True)]
    counting, not_counting = (held_out_metrics(facts, 2, 2, budget=12, ended=ended) for ended in (False, True))
    assert (counting["eval/accuracy_at_budget"], not_counting["eval/accuracy_at_budget"]) == (1.0, 0.25)
    for found in (counting, not_counting):
        assert (found["eval/accuracy"], found["eval/accuracy_ended"]) == (1.0, 0.25)
    for ended in (False, True):
        verifier = HashVerifier()
        verifier.ended = ended
        trainer, lines, _ = train(f"ended_{ended}", {"every": 6}, verifier=verifier)
        first = next(line for line in lines if "eval/accuracy" in line)
        assert first["eval/accuracy"] > first["eval/accuracy_ended"]
        wanted = first["eval/accuracy_ended" if ended else "eval/accuracy"]
        assert first["eval/accuracy_at_budget"] == wanted == trainer.guards.on["held_out_loss"].first[0]


def test_what_earlier_attempts_measured(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step, value in ((0, 0.25), (2, 0.5), (2, 0.75), (4, float("nan")), (6, 1.0)):
        file.write(step, {"eval/accuracy_at_budget": value})
    file.write(5, {"loss": 0.1})
    assert [(r["step"], r["eval/accuracy_at_budget"]) for r in read_evaluations(file, 5)] == [(0, 0.25), (2, 0.75)]
    assert read_evaluations(MetricsFile(tmp_path / "nothing"), 5) == []


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"every": 0, "dataset": "testbed"}, "evaluation.every.* 0.*at least 1"),
        ({"every": 5}, "evaluation: missing dataset"),
        ({"every": 5, "dataset": "testbed", "flour": 1}, "parameter 'flour'.*'floor'"),
        ({"every": 5, "dataset": "testbed", "floor": 3}, "evaluation.floor.* 3"),
        (
            {"every": 5, "dataset": "testbed", "budget": 99, "max_new_tokens": 9},
            "evaluation.budget.* 99.*at most",
        ),
    ],
)
def test_a_section_that_cannot_be_meant(section, message):
    with pytest.raises(ConfigError, match=message):
        checked(Recipe.of({"model_name_or_path": "testbed", "evaluation": section}))
    assert EvaluationSpec.of({}) is None


def test_a_recipe_makes_the_callback(make_trainer, tmp_path, capsys):
    from tersely.rl.held_out_evaluation import held_out_evaluation

    path = tmp_path / "held.jsonl"
    path.write_text('{"problem": "1+1=", "answer": "2"}\n{"problem": "2+3=", "answer": "5"}\n')
    trainer = make_trainer(evaluation={"every": 2, "dataset": {"path": str(path)}, "budget": 5})
    metrics = MetricsFile(tmp_path / "metrics.jsonl")

    def made(trained_on=()):
        model = trainer.trained_model()
        return held_out_evaluation(trainer.run_config, 0, trained_on, model, metrics, trainer.guards)

    callback = made(trainer.train_dataset["prompt_id"])
    assert len(callback.rows) == 2 and (callback.budget, callback.cap) == (5, 12)
    assert "evaluation.dataset" not in capsys.readouterr().out
    made([callback.rows[0]["prompt_id"]])
    assert re.search("1 of 2 .*evaluation.dataset", capsys.readouterr().out)
    trainer.run_config = dataclasses.replace(trainer.run_config, evaluation=None)
    assert made() is None


def test_no_problems(make_trainer):
    trainer = make_trainer()
    with pytest.raises(ConfigError, match="evaluation.dataset"):
        HeldOutEvaluation(EvaluationSpec(1, ()), trainer.trained_model(), [], None, trainer.guards)


def test_ranks_share_the_samples(make_trainer, monkeypatch):
    """Two ranks draw what one draws, each sample once, and both get the same numbers."""
    trainer, sent = make_trainer(), []
    spec, model = EvaluationSpec(1, (), samples=3), trainer.trained_model()
    alone = HeldOutEvaluation(spec, model, ROWS, None, trainer.guards)._measured(0, 0)
    for rank in range(2):
        monkeypatch.setattr("accelerate.utils.gather_object", lambda facts: sent.append(facts) or facts)
        shape = replace(model.maker.shape, rank=rank, ranks=2)
        one = replace(model, maker=replace(model.maker, shape=shape))
        HeldOutEvaluation(spec, one, ROWS, None, trainer.guards)._measured(0, 0)
    both = [fact for facts in sent for fact in facts]
    assert sorted(fact[:2] for fact in both) == [(q, j) for q in range(5) for j in range(3)]
    assert held_out_metrics(both, 5, 3, 12) == alone


def test_stages_do_not_mix(tmp_path):
    first = MetricsFile(tmp_path / "metrics.jsonl", stage="one")
    first.write(0, {"eval/accuracy_at_budget": 0.25})
    first.write(4, {"eval/accuracy_at_budget": 0.75})
    second = MetricsFile(tmp_path / "metrics.jsonl", 4, stage="two", first_step=4)
    second.write(0, {"eval/accuracy_at_budget": 0.5})
    second.write(2, {"eval/accuracy_at_budget": 0.625})
    assert [(r["step"], r["eval/accuracy_at_budget"]) for r in read_evaluations(second, 2)] == [(0, 0.5), (2, 0.625)]
    assert [r["step"] for r in read_evaluations(second, 1)] == [0]
    assert [r["step"] for r in read_evaluations(first, 9)] == [0, 4]
