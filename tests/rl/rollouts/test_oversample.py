"""Groups beyond the batch are generated at once, and those that pass the filter replace filtered ones."""

from __future__ import annotations

import pytest
import torch
from support.tiny import HashVerifier, watched

from tersely.core.errors import ConfigError
from tersely.rl.rollouts.oversample import Oversampling

MIXED = {"filter": "mixed_groups", "group_size": 2, "prompts_per_step": 8, "reward": "correctness"}


class Counted(HashVerifier):
    def __init__(self, correct=None):
        self.calls, self.correct = [], correct

    def verify(self, golds, texts):
        self.calls.append(len(texts))
        found = super().verify(golds, texts)
        return found if self.correct is None else [type(one)(one.status, self.correct) for one in found]


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    trainer.seen = watched(trainer)
    return trainer.make_batch(trainer.prompts.at(0))


def recorded(trainer, name):
    return trainer._metrics["train"][name][-1]


def prompts(rows):
    return [row["prompt_id"] for row in rows[::2]]


def test_filtered_groups_are_replaced_by_the_first_useful_ones_beyond_the_batch(make_trainer):
    verifier = Counted()
    plain, filled = make_trainer(**MIXED), make_trainer(**MIXED, max_oversampling=3, verifier=verifier)
    filled.oversampling.observe(1 / 3)
    one_batch(plain)
    batch = one_batch(filled)
    assert verifier.calls == [48], "one call of the engine and the verifier for all 24 groups"
    kept, done = plain.seen.scores.keep.tolist(), filled.seen.sampled.resampling
    before, after = prompts(plain.logged_rows), prompts(filled.logged_rows)
    assert [a == b for a, b in zip(before, after, strict=True)] == kept and len(set(after)) == 8
    assert filled.seen.scores.keep.all() and done.groups == kept.count(False) > 0 and done.beyond == 16
    for one, other in zip(plain.logged_rows, filled.logged_rows, strict=True):
        assert one["prompt_id"] != other["prompt_id"] or one == other, (
            "a group that stays is the one without oversampling"
        )
    every = {*after, *(record.prompt_id for record in done.records)}
    assert len(every) == 24 and len(done.records) == 32
    assert done.kept(2).sum() == len(done.surplus) // 2 > 0
    share = (8 + len(done.surplus) // 2) / 24
    assert recorded(filled, "groups/kept") == pytest.approx(share) == filled.oversampling.shares[-1]
    assert (recorded(filled, "groups/oversampled"), recorded(filled, "groups/resample_rounds")) == (16, 0)
    texts = filled.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
    assert texts == [row["text"] for row in filled.logged_rows] and filled.seen.scores.keep.all()
    verdicts = [verdict.correct for verdict in HashVerifier().verify(None, texts)]
    assert batch["correct"].tolist() == verdicts


def test_the_number_of_groups_follows_the_share_that_passes(make_trainer):
    trainer = make_trainer(**MIXED, max_oversampling=4)
    one_batch(trainer)
    assert recorded(trainer, "groups/oversampled") == 4, "1.5 at first"
    (share,) = trainer.oversampling.shares
    one_batch(trainer)
    assert recorded(trainer, "groups/oversampled") == int(8 / share) - 8


def test_what_oversampling_leaves_is_resampled_with_other_prompts(make_trainer):
    recipe = {**MIXED, "prompts_per_step": 8, "max_oversampling": 1.25}
    alone, both = make_trainer(**recipe), make_trainer(**recipe, max_resample_rounds=6)
    one_batch(alone)
    one_batch(both)
    assert alone.seen.scores.keep.sum() < both.seen.scores.keep.sum()
    every = [*prompts(both.logged_rows), *(r.prompt_id for r in both.seen.sampled.resampling.records[::2])]
    assert len(set(every)) == len(every) > 10
    assert recorded(both, "groups/resample_rounds") >= 1 and recorded(both, "groups/oversampled") == 2
    assert alone.oversampling.shares == both.oversampling.shares


@pytest.mark.parametrize(("correct", "share"), [(1.0, 0.0), (0.0, 0.0)])
def test_without_a_useful_group_the_batch_stays_and_the_factor_is_the_largest(make_trainer, correct, share):
    trainer = make_trainer(**MIXED, max_oversampling=2, verifier=Counted(correct))
    one_batch(trainer)
    assert trainer.oversampling.shares == [share] and not trainer.seen.scores.keep.any()
    assert trainer.seen.batch["train_mask"].sum() == 0 and recorded(trainer, "groups/resampled") == 0
    one_batch(trainer)
    assert recorded(trainer, "groups/oversampled") == 8


def test_a_training_set_that_has_no_more_prompts(make_trainer):
    trainer = make_trainer(**{**MIXED, "prompts_per_step": 28}, max_oversampling=5)
    one_batch(trainer)
    assert recorded(trainer, "groups/oversampled") == 4


def test_components_learn_from_all_verified_groups(make_trainer):
    reward = [{"name": "correctness"}, {"name": "hapo_history", "weight": 0.5}]
    trainer = make_trainer(**{**MIXED, "reward": reward}, max_oversampling=3)
    one_batch(trainer)
    records = trainer.seen.sampled.resampling.records
    right = {record.prompt_id for record in records if record.correct == 1}
    assert right and right <= set(trainer.memory.records)


def test_cut_groups_count_as_cut(make_trainer, monkeypatch):
    """All groups are correct; where a row is cut it becomes incorrect, and only such groups are useful."""
    from tersely.algorithms.trims.dot import DOT

    def every_third(self, rollouts):
        groups = torch.arange(len(rollouts.length)) // 2
        return torch.where((groups % 3 == 2) & (torch.arange(len(groups)) % 2 == 1), 0, rollouts.length)

    monkeypatch.setattr(DOT, "__call__", every_third)

    class WholeIsCorrect(HashVerifier):
        def verify(self, golds, texts):
            return [
                type(one)("x", float(bool(text))) for one, text in zip(super().verify(golds, texts), texts, strict=True)
            ]

    trainer = make_trainer(**MIXED, trim="dot", max_oversampling=3, verifier=WholeIsCorrect())
    trainer.oversampling.observe(0.25)
    one_batch(trainer)
    done = trainer.seen.sampled.resampling
    # of 8 groups, 2 and 5 have a cut row; of the 16 beyond, five do and take the places 0, 1, 3, 4 and 6
    assert (done.groups, done.beyond, len(done.surplus)) == (5, 16, 0)
    assert all(record.correct == 1 for record in done.records), "logs see what was sampled"
    assert trainer.oversampling.shares[-1] == 7 / 24


def test_the_state_is_restored():
    one, other = Oversampling(5), Oversampling(5)
    for n in range(30):
        one.observe(n / 30)
    other.load_state_dict(one.state_dict())
    assert other == one and len(one.shares) == 20 and other.groups(128) == one.groups(128)


def test_values_out_of_range_are_refused(make_trainer):
    for value in (0.5, -1, 1000):
        with pytest.raises(ConfigError, match="max_oversampling"):
            make_trainer(**MIXED, max_oversampling=value)
    with pytest.raises(ConfigError, match=r"max_oversampling.*reference_score|max_oversampling.*RLPR"):
        make_trainer(**{**MIXED, "filter": "rlpr_std"}, max_oversampling=2)
