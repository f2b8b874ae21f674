"""Optional fields of tokens and phases: bounds of the thinking, steps, old log-probs, reflection words."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
import torch

from tersely.core.present_tokens import present_tokens, sampled_tokens
from tersely.core.protocols import Reward
from tersely.core.types import RolloutPlan, Rollouts
from tersely.engines.base import Generation
from tersely.rl.reflections import reflection_count
from tersely.rl.rollouts.rollout import RolloutRound, Template
from tersely.rl.rollouts.token_fields import FILL, TokenFields, bounds_of, step_ends, steps_of, thinking_bounds

SEEN: dict[str, Rollouts] = {}


@pytest.mark.parametrize(
    ("ids", "bounds"),
    [
        ([1, 2, 9, 3], (2, 3)),
        ([9, 1, 9, 1], (0, 1)),
        ([1, 2, 3], (3, 3)),
        ([1, 2, 9], (2, 3)),
        ([], (0, 0)),
    ],
)
def test_the_first_marker_bounds_the_thinking(ids, bounds):
    assert bounds_of(ids, (9,)) == bounds


def test_a_marker_of_several_tokens_is_found_whole():
    assert bounds_of([8, 1, 8, 9, 5], (8, 9)) == (2, 4)
    assert bounds_of([8], (8, 9)) == (1, 1)
    assert bounds_of([8, 9], ()) == (2, 2)


def test_forced_text_around_the_marker_belongs_to_it():
    """The card's row: four tokens, text of three ids with the marker in the middle, two tokens and EOS."""
    forced = [False] * 4 + [True] * 3 + [False] * 3
    assert bounds_of([11, 12, 13, 14, 7, 9, 8, 21, 22, 2], (9,), forced) == (4, 7)
    assert bounds_of([11, 7, 12, 9, 8], (9,), [False, True, False, False, False]) == (3, 4)


@pytest.mark.parametrize(("trains", "bounds"), [(False, [0, 0]), (True, [1, 2])])
def test_a_prefill_can_close_the_thinking(trains, bounds):
    class Tokenizer:
        def encode(self, text, **_):
            return [4, 9]

    plan = RolloutPlan(prefill="x</think>", train_prefill=trains)
    made = RolloutRound([{}], [plan], Tokenizer(), Template("", (9,)), generations=[Generation((5, 2), None, "eos")])
    assert thinking_bounds(made).tolist() == [bounds]


def test_every_field_has_its_fill_on_padding(tokenizer):
    """A pass has some entropy and log-prob on padding too."""
    batch = {
        "completion_ids": torch.tensor([[5, 6, 7], [8, 0, 0]]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
    }
    old = torch.full((2, 3), -2.0), torch.full((2, 3), 1.5)
    found = TokenFields(tokenizer)(FILL, RolloutRound([], [], tokenizer, Template("", ())), batch, old)
    padding = batch["completion_mask"] == 0
    assert found.keys() == FILL.keys()
    for name, fill in FILL.items():
        assert (found[name][padding] == fill).all() and (found[name][~padding] != fill).all(), name


def test_a_token_with_two_newlines_ends_its_step():
    ends = torch.tensor([False, False, True, False])
    ids = torch.tensor([[0, 2, 1, 3, 2, 0], [2, 2, 0, 0, 9, 9]])
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    assert steps_of(ids, padding, ends).tolist() == [[0, 0, 1, 1, 1, 2], [0, 1, 2, 2, -1, -1]]


def test_an_id_outside_of_the_table_ends_no_step():
    ids = torch.tensor([[7, 0, -1]])
    assert steps_of(ids, torch.zeros(1, 3, dtype=torch.bool), torch.tensor([True])).tolist() == [[0, 0, 1]]


def test_the_table_reads_each_entry_of_the_vocabulary():
    class Tokenizer:
        texts = ("a", "\n", "\n\n", ".\n\n", "\n \n")

        def __len__(self):
            return len(self.texts)

        def batch_decode(self, rows):
            return [self.texts[i] for (i,) in rows]

    assert step_ends(Tokenizer()).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Wait, but HOWEVER. However", 4),
        ("waiting for butter, ohm, checked", 0),
        ("double-check", 1),
        ("hold on. Hold  on", 1),
        ("alternatively alternative", 2),
        ("think again; another thought; verify; oh; hmm; check", 6),
        ("", 0),
    ],
)
def test_reflection_words(text, count):
    assert reflection_count(text) == count


def test_forced_tokens_are_present_but_not_sampled(make_rollouts):
    forced = torch.tensor([[False, True, True, False, False], [False] * 5])
    rollouts = make_rollouts([2, 3], [1.0, 0.0], forced=forced)
    assert present_tokens(rollouts, 5).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    assert sampled_tokens(rollouts, 5).int().tolist() == [[1, 0, 0, 1, 0], [1, 1, 1, 0, 0]]
    assert torch.equal(
        sampled_tokens(dataclasses.replace(rollouts, forced=None), 5), torch.arange(5) < rollouts.length[:, None]
    )


@dataclasses.dataclass(frozen=True)
class Sees(Reward):
    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("token_ids", "old_logp", "step", "thinking_end", "answer_start", "reflections")

    def __call__(self, rollouts):
        SEEN["rollouts"] = rollouts
        return rollouts.correct.clone()


def test_a_step_makes_the_fields_of_its_rows(make_trainer):
    trainer = make_trainer(reward=f"{__name__}:Sees", max_steps=1)
    trainer.train()
    rollouts = SEEN["rollouts"]
    marker = trainer.maker.template.end_of_thinking
    ends = step_ends(trainer.processing_class)
    for i, text in enumerate(rollouts.completion_text):
        ids = [token for token in rollouts.token_ids[i].tolist() if token != -1]
        assert (int(rollouts.thinking_end[i]), int(rollouts.answer_start[i])) == bounds_of(ids, marker)
        assert int(rollouts.reflections[i]) == reflection_count(text)
        step = rollouts.step[i].tolist()
        assert step[len(ids) :] == [-1] * (len(step) - len(ids))
        assert step[: len(ids)] == [sum(bool(ends[token]) for token in ids[:t]) for t in range(len(ids))]
        assert (rollouts.old_logp[i, len(ids) :] == 0).all() and (rollouts.old_logp[i, : len(ids)] <= 0).all()
    assert (rollouts.old_logp < 0).any()
