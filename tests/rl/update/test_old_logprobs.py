"""Which rows go through the model, how often, and what is known of the old policy afterwards."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.tiny import watched
from trl import GRPOTrainer

from tersely.engines.base import Engine
from tersely.engines.registry import Capabilities

MIXED = {"filter": "mixed_groups", "group_size": 2, "prompts_per_step": 8, "max_steps": 1}
"""A batch in which some groups train and some do not."""


@pytest.fixture
def passes(monkeypatch):
    """(with a gradient, completions, padded tokens) of every forward pass that gives log-probs."""
    found, original = [], GRPOTrainer._get_per_token_logps_and_entropies

    def counted(self, model, ids, mask, keep, *args, **kwargs):
        rows = [tuple(row[chosen.bool()].tolist()) for row, chosen in zip(ids, mask, strict=True)]
        found.append((torch.is_grad_enabled(), rows, ids.numel()))
        return original(self, model, ids, mask, keep, *args, **kwargs)

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", counted)
    return found


class Reporting(Engine):
    """The trained model behind an engine that reports log-probs, which are off by `off` of each prompt."""

    capabilities = Capabilities(weight_sync=True, sampler_logprobs=True)
    off = staticmethod(lambda request: 0.0)

    def generate(self, requests, **sampling):
        made = self.inner.generate([replace(request, logprobs=True) for request in requests], **sampling)
        return [
            replace(one, logprobs=tuple(p + self.off(request) for p in one.logprobs))
            for one, request in zip(made, requests, strict=True)
        ]

    def sync_weights(self, model, version):
        pass

    def facts(self):
        return {"version": 0}

    def close(self):
        pass


@pytest.fixture
def reporting(make_trainer):
    def make(**recipe):
        engine = Reporting()
        trainer = make_trainer(engine=engine, guards={"mismatch": {"threshold": 10}}, **recipe)
        engine.inner = trainer.own_engine()
        return trainer, engine

    return make


def rows_of(passes, gradient):
    return [row for has, rows, _ in passes if has is gradient for row in rows]


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("recipe", [{"max_steps": 1}, MIXED], ids=["all", "mixed"])
def test_with_one_step_a_batch_no_row_goes_through_the_model_twice(
    make_trainer, reporting, passes, recipe, planned, reports
):
    recipe = {"advantage": "identity", "reward": "correctness", **recipe, "micro_batching": planned}
    trainer = reporting(**recipe)[0] if reports else make_trainer(**recipe)
    seen = watched(trainer)
    trainer.train()
    made = seen.sampled.rollouts
    everything = [(*p, *c) for p, c in zip(made.prompt_ids, made.completion_ids, strict=True)]
    trained, left_out = rows_of(passes, True), rows_of(passes, False)
    assert sorted(trained + left_out) == sorted(everything)
    assert bool(left_out) is (planned and len(trained) < len(everything))
    logged = trainer.state.log_history[0]
    assert logged["entropy"] > 0 and ("mismatch/mean" in logged) is reports
    if reports:
        assert logged["mismatch/tokens"] == sum(map(len, made.completion_ids))


class EverythingCorrect:
    def verify(self, golds, texts):
        return [SimpleNamespace(status="correct", correct=1.0, answer=None) for _ in texts]


@pytest.mark.parametrize("planned", [True, False])
def test_where_no_row_trains_all_are_seen_without_a_gradient(reporting, passes, planned):
    trainer, _ = reporting(verifier=EverythingCorrect(), reward="correctness", max_steps=1, micro_batching=planned)
    seen = watched(trainer)
    trainer.train()
    assert trainer.state.log_history[0]["mismatch/tokens"] == sum(map(len, seen.sampled.rollouts.completion_ids))
    logged = trainer.state.log_history[0]
    assert len(rows_of(passes, False)) == 16 + 1 and not rows_of(passes, True), "one more shows broken weights"
    assert logged["update/skipped"] == 1 and logged["entropy"] > 0


def test_the_gap_is_that_of_all_rows_also_of_those_left_out(reporting):
    trainer, engine = reporting(**MIXED)
    engine.off = lambda request: 0.01 * (sum(request.prompt_ids) % 7)
    seen = watched(trainer)
    trainer.train()
    ids = seen.sampled.rollouts.prompt_ids
    off = [0.01 * (sum(prompt) % 7) for prompt in ids]
    tokens = [len(completion) for completion in seen.sampled.rollouts.completion_ids]
    expected = sum(o * n for o, n in zip(off, tokens, strict=True)) / sum(tokens)
    logged = trainer.state.log_history[0]
    assert 0 < logged["update/rows_left_out"] < 1
    assert logged["mismatch/mean"] == pytest.approx(expected, abs=1e-4)
    assert logged["mismatch/max"] == pytest.approx(max(off), abs=1e-4)


def test_a_component_that_needs_entropies_has_one_pass_before_the_update(make_trainer, passes):
    trainer = make_trainer(advantage="entropy_shaped", **MIXED)
    trainer.train()
    assert len(rows_of(passes, False)) == 16, "the rows left out are not passed again"
    assert trainer.state.log_history[0]["ratio/max_log"] == 0


def test_old_log_probs_of_several_steps_are_cut_by_length_and_the_same(make_trainer, passes):
    def batch(**recipe):
        trainer = make_trainer(prompts_per_step=4, max_completion_length=48, updates_per_batch=2, **recipe)
        trainer.model.train()
        passes.clear()
        return trainer, trainer.make_batch(trainer.prompts.at(0))

    trainer, output = batch(micro_batch=4)
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    cost = sum(tokens for _, _, tokens in passes)
    assert len(rows_of(passes, False)) == 16 and cost < ids.numel()
    with torch.no_grad():
        whole = GRPOTrainer._get_per_token_logps_and_entropies(
            trainer, trainer.model, ids, mask, output["completion_ids"].shape[1]
        )[0]
    valid = output["completion_mask"].bool()
    torch.testing.assert_close(output["old_per_token_logps"][valid], whole[valid], atol=1e-5, rtol=0)


def test_a_rank_with_fewer_parts_makes_as_many_passes_as_the_others(make_trainer, passes, monkeypatch):
    trainer = make_trainer(max_steps=1)
    trainer.model.train()
    output = trainer.make_batch(trainer.prompts.at(0))
    passes.clear()
    gather = trainer.accelerator.gather
    monkeypatch.setattr(trainer.accelerator, "gather", lambda mine: gather(mine) + 5)
    trainer.pass_by_length(trainer.model, output, [])
    assert len(passes) == 5


def test_nothing_is_passed_where_nothing_reads_it(make_trainer, passes):
    guards = {"entropy_collapse": False, "entropy_explosion": False}
    trainer = make_trainer(guards=guards, **MIXED)
    trainer.train()
    assert not rows_of(passes, False) and "entropy" not in trainer.state.log_history[0]
