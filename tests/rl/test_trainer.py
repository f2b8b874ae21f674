"""The trainer's own behaviour, on a real model: plans, filters, caps, warnings, stops."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.tiny import watched

from tersely.core.protocols import Advantage, Prompting
from tersely.core.types import RolloutPlan
from tersely.engines.base import Engine
from tersely.engines.registry import Capabilities


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    inputs = trainer.prompts.at(0)
    return inputs, trainer.make_batch(inputs)


@dataclass
class AlternatingPlan(Prompting):
    """Two plans inside every group: a prefill and a budget, or an instruction and a cap."""

    train_prefill: bool = False

    def __call__(self, prompt_ids, group_size, memory=None, seed=0):
        told = RolloutPlan(prefill="<think>go", budget=5, mode="short", train_prefill=self.train_prefill)
        asked = RolloutPlan(instruction="Be brief.", max_new_tokens=3, mode="long")
        return [told if i % 2 == 0 else asked for i in range(len(prompt_ids) * group_size)]


def with_prompting(trainer, plan):
    object.__setattr__(trainer.objective, "prompting", plan)
    return trainer


def test_plans_inside_a_group_reach_engine_and_record(make_trainer):
    trainer = with_prompting(make_trainer(), AlternatingPlan())
    seen = watched(trainer)
    _, output = one_batch(trainer)
    prompts = trainer.processing_class.batch_decode(seen.sampled.rollouts.prompt_ids)
    assert all(text.endswith("<think>\ngo") for text in prompts[::2])
    assert all("Be brief." in text and text.endswith("<think>\n") for text in prompts[1::2])
    assert all("<think>" not in text[: text.rindex("<think>")] for text in prompts)
    lengths = [row["length"] for row in trainer.logged_rows]
    assert max(lengths[1::2]) <= 3 < max(lengths[::2])
    assert [row["mode"] for row in trainer.logged_rows] == ["short", "long"] * 8
    assert [row["budget"] for row in trainer.logged_rows[::2]] == [5.0] * 8
    assert output["completion_mask"].sum(1).tolist() == lengths


def test_a_trained_prefill_is_in_the_loss_but_not_in_the_length(make_trainer):
    trainer = with_prompting(make_trainer(), AlternatingPlan(train_prefill=True))
    _, output = one_batch(trainer)
    trained = output["train_mask"].sum(1).tolist()
    lengths = [row["length"] for row in trainer.logged_rows]
    assert [t - n for t, n in zip(trained, lengths, strict=True)] == [2, 0] * 8
    assert trainer.processing_class.decode(output["completion_ids"][0][:2]) == "go"


def test_dropped_groups_train_nothing_and_count_nothing(make_trainer):
    trainer = make_trainer(filter="mixed_groups", group_size=2, prompts_per_step=8)
    seen = watched(trainer)
    _, output = one_batch(trainer)
    keep = seen.scores.keep.repeat_interleave(2)
    assert 0 < keep.sum() < len(keep)
    assert output["train_mask"][~keep].sum() == 0 and output["advantages"][~keep].abs().sum() == 0
    assert output["num_items_in_batch"] == output["completion_mask"][keep].sum()
    assert output["rows_in_batch"] == keep.sum()


def test_advantages_are_those_of_the_objective_on_whole_groups(make_trainer):
    trainer = make_trainer(reward={"name": "alp", "beta": 0.3, "normalizer": 12}, advantage="group_mean")
    _, output = one_batch(trainer)
    advantage = output["advantages"].view(-1, 4)
    torch.testing.assert_close(advantage.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    assert advantage.abs().max() > 0


def test_training_changes_the_model_and_logs_what_happened(make_trainer):
    trainer = make_trainer(reward=[{"name": "correctness"}, {"name": "soft_overlong", "cache": 4, "weight": 0.5}])
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())
    logged = trainer.state.log_history[0]
    for name in ("verify/accuracy", "groups/mixed", "completions/mean_length", "rewards/correctness/mean"):
        assert name in logged
    assert "rewards/soft_overlong/mean" in logged and json.dumps(logged)
    row = trainer.logged_rows[0]
    assert row["weighted/soft_overlong"] == pytest.approx(0.5 * row["reward/soft_overlong"])
    assert row["reward"] == pytest.approx(row["weighted/correctness"] + row["weighted/soft_overlong"])


def test_nan_loss_stops_before_the_optimiser_steps(make_trainer):
    from tersely.rl.guards import RunStopped

    trainer = make_trainer()
    trainer.model.train()
    with torch.no_grad():
        trainer.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises((RunStopped, RuntimeError), match="nan"):
        trainer.train()


def test_undecided_verdicts_past_the_limit_stop_the_run(make_trainer):
    from tersely.rl.guards import RunStopped

    class Undecided:
        def verify(self, golds, texts):
            return [type("V", (), {"status": "undecided", "correct": float("nan"), "answer": None})() for _ in texts]

    trainer = make_trainer(verifier=Undecided(), max_steps=2, save_strategy="steps", save_steps=1)
    with pytest.raises(RunStopped, match="step 1: guard undecided.*100%.*20%"):
        trainer.train()
    assert trainer.state.log_history[0]["verify/undecided"] == 1.0, "the step is logged"
    assert not list(Path(trainer.args.output_dir).glob("checkpoint-*")), "and not saved"


def test_two_dimensional_advantages_train(make_trainer):
    @dataclass
    class Ramp(Advantage):
        needs = ("token_ids",)

        def __call__(self, rewards, rollouts):
            return (rollouts.token_ids >= 0).float() * rewards.nan_to_num().unsqueeze(1)

    trainer = make_trainer()
    object.__setattr__(trainer.objective, "advantage", Ramp())
    trainer.train()
    assert trainer.state.global_step == 2


def test_entropies_of_the_old_policy_arrive_once(make_trainer):
    seen = []

    @dataclass
    class Watch(Advantage):
        needs = ("token_ids", "entropy")

        def __call__(self, rewards, rollouts):
            seen.append((rollouts.token_ids, rollouts.entropy, rollouts.length))
            return rewards.nan_to_num()

    trainer = make_trainer()
    object.__setattr__(trainer.objective, "advantage", Watch())
    _, output = one_batch(trainer)
    ids, entropy, length = seen[0]
    assert ids.shape == entropy.shape and ((ids >= 0).sum(1) == length).all()
    assert (entropy[ids >= 0] > 0).all() and "old_per_token_logps" not in output, "one step a batch: the ratio is 1"


def test_an_adapter_s_reference_pass_is_not_taken_for_the_old_policy(make_trainer):
    """TRL takes the reference from the same model with its adapters off."""
    pytest.importorskip("peft")
    lora = {"rank": 4, "alpha": 64, "targets": ["q_proj", "down_proj"]}
    loss_fn = {"name": "kl_penalty", "beta": 0.1}
    trainer = make_trainer(peft=lora, loss=loss_fn, advantage="entropy_shaped", learning_rate=5e-2)
    seen = watched(trainer)
    trainer.train()
    last, old = seen.batch, seen.loss[0]
    assert (old - last["ref_per_token_logps"][:, : old.shape[1]]).abs().max() > 1e-3
    rows = [row for row in trainer.state.log_history if "ratio/max_log" in row]
    assert [row["ratio/max_log"] for row in rows] == [0.0, 0.0], "one step a batch: nothing has moved since it was made"


class Reporting(Engine):
    """The trained model behind an engine that reports log-probs, off by what it is told."""

    capabilities = Capabilities(weight_sync=True, sampler_logprobs=True)

    def __init__(self, off=0.0):
        self.off, self.inner, self.versions = off, None, []

    def generate(self, requests, **sampling):
        from dataclasses import replace

        drawn = self.inner.generate([replace(r, logprobs=True) for r in requests], **sampling)
        return [replace(g, logprobs=tuple(p + self.off for p in g.logprobs)) for g in drawn]

    def sync_weights(self, model, version):
        self.versions.append(version)

    def facts(self):
        return {"engine": "reporting", "version": self.versions[-1] if self.versions else None}

    def close(self):
        pass


@pytest.fixture
def reporting(make_trainer):
    def make(off=0.0, **recipe):
        engine = Reporting(off)
        trainer = make_trainer(engine=engine, **recipe)
        engine.inner = trainer.own_engine()
        return trainer, engine

    return make


def test_the_gap_that_stops_a_run_is_that_of_all_ranks(reporting, monkeypatch):
    from tersely.engines.base import StaleEngineError
    from tersely.rl.update import old_logprobs as module

    gather = module.gather_object

    def with_another_rank(values):
        own = gather(values)
        far = {"mean": 1.0, "max": 2.0, "ratio": 1.0, "tokens": 1e6}
        return own + [far] if own and isinstance(own[0], dict) and "tokens" in own[0] else own

    trainer, _ = reporting()
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    monkeypatch.setattr(module, "gather_object", with_another_rank)
    with pytest.raises(StaleEngineError, match="differ by"):
        trainer.train()
    assert all(map(torch.equal, before, trainer.model.parameters())), "found before the weights moved"


def test_padding_to_a_multiple_fits_the_old_pass(reporting):
    trainer, _ = reporting(pad_to_multiple_of=16, advantage="entropy_shaped", max_steps=1, sampling="fixed")
    trainer.train()
    assert trainer.state.log_history[0]["mismatch/mean"] < 1e-4


@pytest.mark.parametrize("bf16", [False, True])
def test_rollouts_are_drawn_under_one_autocast(make_trainer, bf16):
    """Inside one, float32 weights are cast once for all positions; each forward pass opens another by itself."""
    trainer = make_trainer(bf16=bf16)
    assert next(trainer.model.parameters()).dtype == torch.float32
    with trainer.engine.unwrapped():
        assert torch.is_autocast_enabled("cpu") is bf16


@pytest.mark.parametrize("micro_batch", [2, 8])
@pytest.mark.parametrize("controllers", [[], ["entropy_clip"]], ids=str)
def test_entropy_is_that_of_all_rows_and_of_trained_is_named_so(make_trainer, controllers, micro_batch):
    """Guards and controllers have thresholds for the step; the update sees the rows with a signal alone."""
    guards = {"entropy_collapse": False, "entropy_explosion": False} if controllers else {}
    trainer = make_trainer(
        micro_batch=micro_batch, filter="mixed_groups", group_size=2, prompts_per_step=8, max_steps=1, guards=guards,
        controllers=controllers,
    )  # fmt: skip
    trainer.model.lm_head.weight.data.mul_(30)  # or every token has the entropy of a uniform draw
    expected, seen = {}, watched(trainer)
    make_batch = trainer.make_batch

    def kept(rows):
        output = make_batch(rows)
        with torch.no_grad():
            ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
            mask = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
            width = output["completion_ids"].shape[1]
            entropy = trainer.token_log_probs(trainer.model, ids, mask, width, entropy=True)[1]
        rows = seen.scores.keep.repeat_interleave(2)
        for name, chosen in (("entropy", rows | True), ("entropy/of_trained", rows)):
            where = output["completion_mask"].bool() & chosen.unsqueeze(1)
            expected[name] = entropy[where].mean().item()
        return output

    trainer.make_batch = kept
    trainer.train()
    logged = trainer.state.log_history[0]
    assert expected["entropy"] != pytest.approx(expected["entropy/of_trained"], abs=1e-4)
    assert logged["entropy"] == pytest.approx(expected["entropy"], abs=1e-4)
    if not controllers:
        assert logged["entropy/of_trained"] == pytest.approx(expected["entropy/of_trained"], abs=1e-4)
    assert "entropy/part_1" in logged and "entropy/correct" in logged
