"""Filtered groups are replaced in a real trainer: by fresh prompts, a limited number of times, consistently downstream."""

from __future__ import annotations

import pytest
import torch
from support.tiny import watched

from tersely.core.errors import ConfigError

MIXED = {"filter": "mixed_groups", "group_size": 2, "prompts_per_step": 8, "reward": "correctness"}


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    inputs, trainer.seen = trainer.prompts.at(0), watched(trainer)
    return inputs, trainer.make_batch(inputs)


def recorded(trainer, name):
    return trainer._metrics["train"][name][-1]


def test_refused_groups_are_replaced_by_fresh_prompts(make_trainer):
    plain, filled = make_trainer(**MIXED), make_trainer(**MIXED, max_resample_rounds=6)
    inputs, _ = one_batch(plain)
    _, output = one_batch(filled)
    assert 0 < plain.seen.scores.keep.sum() < 8 and filled.seen.scores.keep.all()
    before, after = [row["prompt_id"] for row in inputs[::2]], [r["prompt_id"] for r in filled.logged_rows[::2]]
    kept = plain.seen.scores.keep.tolist()
    assert [a == b for a, b in zip(before, after, strict=True)] == kept and len(set(after)) == 8
    assert not {a for a, k in zip(after, kept, strict=True) if not k} & set(before)
    refused = len(filled.seen.sampled.resampling.filtered) // 2
    assert recorded(filled, "groups/resampled") == refused >= 8 - sum(kept)
    assert 1 <= recorded(filled, "groups/resample_rounds") <= 6
    assert recorded(filled, "groups/kept") == pytest.approx(8 / (8 + refused))


def test_the_batch_that_trains_is_the_one_that_was_scored(make_trainer):
    trainer = make_trainer(**MIXED, max_resample_rounds=6)
    _, output = one_batch(trainer)
    rows = trainer.logged_rows
    assert output["completion_mask"].sum(1).tolist() == [row["length"] for row in rows]
    prompts = trainer.processing_class.batch_decode(output["prompt_ids"], skip_special_tokens=True)
    assert all(row["problem"] in prompt for row, prompt in zip(rows, prompts, strict=True))
    texts = trainer.processing_class.batch_decode(output["completion_ids"], skip_special_tokens=True)
    assert texts == [row["text"] for row in rows]
    assert output["train_mask"].sum() == output["completion_mask"].sum()


def test_what_is_refused_after_the_last_round_does_not_train(make_trainer):
    class Always:
        def verify(self, golds, texts):
            return [type("V", (), {"status": "correct", "correct": 1.0, "answer": None})() for _ in texts]

    trainer = make_trainer(**MIXED, max_resample_rounds=2, verifier=Always())
    _, output = one_batch(trainer)
    assert recorded(trainer, "groups/resample_rounds") == 2 and recorded(trainer, "groups/resampled") == 16
    assert output["train_mask"].sum() == 0 and not trainer.seen.scores.keep.any()


def test_no_prompt_comes_twice_and_a_small_dataset_runs_out(make_trainer):
    class Never:
        def verify(self, golds, texts):
            return [type("V", (), {"status": "incorrect", "correct": 0.0, "answer": None})() for _ in texts]

    trainer = make_trainer(**MIXED, max_resample_rounds=9, verifier=Never())
    one_batch(trainer)
    assert recorded(trainer, "groups/resampled") == 24 and recorded(trainer, "groups/resample_rounds") == 3


def test_components_learn_from_refused_groups_too(make_trainer):
    """The memory hears of every group that was verified, so that a filter does not bias what it stores."""
    reward = [{"name": "correctness"}, {"name": "hapo_history", "weight": 0.5}]
    trainer = make_trainer(**{**MIXED, "reward": reward}, max_resample_rounds=3)
    one_batch(trainer)
    right = {f.prompt_id for f in trainer.seen.sampled.resampling.filtered if f.correct == 1}
    assert right and right <= set(trainer.memory.records)


def test_the_same_seed_resamples_the_same(make_trainer):
    texts = []
    for _ in range(2):
        trainer = make_trainer(**MIXED, max_resample_rounds=6)
        one_batch(trainer)
        texts.append([row["text"] for row in trainer.logged_rows])
    assert texts[0] == texts[1]


def test_training_goes_on_with_it(make_trainer):
    trainer = make_trainer(**MIXED, max_resample_rounds=3)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())


def test_a_negative_bound_is_refused(make_trainer):
    with pytest.raises(ConfigError, match="max_resample_rounds.* -1"):
        make_trainer(**MIXED, max_resample_rounds=-1)


def test_what_reads_no_token_learns_from_the_replaced_groups_too(make_trainer):
    """A-DLP follows the accuracy of everything that was sampled, whatever else the objective reads."""
    trainer = make_trainer(**{**MIXED, "reward": "adlp", "advantage": "ktae"}, max_resample_rounds=6)
    _, output = one_batch(trainer)
    assert recorded(trainer, "groups/resampled") > 0
    accuracy = recorded(trainer, "verify/accuracy")
    assert accuracy != pytest.approx(output["correct"].mean().item()), "or nothing was shown"
    assert trainer.objective.reward.terms[0].current == pytest.approx(1e-3 + 1e-3 * (accuracy - 0.62))
