"""Every field of `Rollouts` and `TokenBatch` has, in a real trainer, the shape and type that the reference page gives it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from gen_tables import FieldText, field_texts

from tersely.algorithms.objective import Objective
from tersely.algorithms.trial import trial_score
from tersely.core.divergence import kl_divergence
from tersely.core.errors import ConfigError
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts, Teacher, TokenBatch

SEEN: dict[str, object] = {}
OF_OTHER_RUNS = ("forced", "cut", "exit", "trace", "prefix")
"""Fields that need a trim or a prompting that forces text."""
DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class Sees:
    """A reward that asks for everything."""

    includes_outcome: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = (
        "token_ids",
        "entropy",
        "thinking_end",
        "answer_start",
        "step",
        "old_logp",
        "reflections",
        "reference_score",
        "reference_logp",
        "repeated",
        "completion_text",
        "columns:steps",
    )

    def __call__(self, rollouts):
        SEEN["rollouts"] = rollouts
        return rollouts.correct.clone()


@dataclass(frozen=True)
class SeesTokens:
    """A loss that asks for everything."""

    needs_live_entropy: ClassVar[bool] = True
    needs_ref_logp: ClassVar[bool] = True
    teachers: ClassVar[tuple[Teacher, ...]] = (Teacher("Be brief."), Teacher())

    def compare(self, student, *teachers):
        return {"kl": kl_divergence(student, teachers[0])}

    def __call__(self, batch):
        SEEN["token_batch"] = batch
        return -batch.advantage * (batch.logp - batch.logp.detach()).exp(), {}


@dataclass(frozen=True)
class Length:
    """Reads what it did not ask for."""

    includes_outcome: ClassVar[bool] = True

    def __call__(self, rollouts):
        return rollouts.correct - torch.tensor([float(level) for level in rollouts.column("level")])


def check(text: FieldText, value, sizes: dict[str, int]) -> None:
    shape, _, kind = text.kind.partition(") ") if text.kind.startswith("(") else ("", "", text.kind)
    word = kind.split()[0].rstrip(",")
    if not shape:
        expected = {"int": int, "float": float, "PromptMemory": object, "name": dict}[word]
        assert isinstance(value, expected), text
    elif word == "str":
        assert len(value) == sizes["N"] and all(isinstance(one, str) for one in value), text
    else:
        assert tuple(value.shape) == tuple(sizes[letter] for letter in re.findall("[A-Z]", shape)), text
        assert value.dtype == DTYPES[word] if word in DTYPES else value.is_floating_point(), (text, value.dtype)


def test_the_fields_are_what_the_page_says(make_trainer):
    trainer = make_trainer(reward=f"{__name__}:Sees", loss=f"{__name__}:SeesTokens", max_steps=1)
    rows = trainer.train_dataset
    rows = rows.add_column("columns", [json.dumps({"steps": i}) for i in range(len(rows))])
    trainer.prompts = dataclasses.replace(trainer.prompts, dataset=rows)
    trainer.train()
    rollouts, batch = SEEN["rollouts"], SEEN["token_batch"]
    sizes = {"N": 16, "T": int(rollouts.token_ids.shape[1])}
    for text in field_texts(Rollouts):
        if text.name not in OF_OTHER_RUNS:
            check(text, getattr(rollouts, text.name), sizes)
    sizes = {"B": batch.logp.shape[0], "T": batch.logp.shape[1]}
    for text in field_texts(TokenBatch):
        if text.name != "sampler_logp":
            check(text, getattr(batch, text.name), sizes)
    assert batch.sampler_logp is None, "the transformers engine reports none"
    assert rollouts.completion_text == [row["text"] for row in trainer.logged_rows]
    assert rollouts.column("steps") == [int(prompt_id[1:]) for prompt_id in rollouts.prompt_id]


def test_a_trainer_without_needs_fills_none_of_the_costly_fields(make_trainer):
    @dataclass(frozen=True)
    class Plain(Reward):
        includes_outcome: ClassVar[bool] = True

        def __call__(self, rollouts):
            SEEN["rollouts"] = rollouts
            return rollouts.correct.clone()

    trainer = make_trainer(max_steps=1)
    object.__setattr__(trainer.objective.reward, "terms", (Plain(),))
    trainer.train()
    for text in field_texts(Rollouts):
        assert (getattr(SEEN["rollouts"], text.name) is None) == text.when_none.startswith("unless"), text


def test_columns_stay_with_their_rows():
    group = Rollouts(
        group_size=2,
        prompt_id=["a", "a", "b", "b"],
        correct=torch.tensor([1.0, 0.0, math.nan, 1.0]),
        length=torch.arange(4),
        truncated=torch.zeros(4, dtype=torch.bool),
        max_length=8,
        completion_text=["w", "x", "y", "z"],
        columns={"steps": [1, 1, None, None]},
    )
    taken = group.at([3, 2])
    assert taken.completion_text == ["z", "y"] and taken.column("steps") == [None, None]
    assert taken.prompt_id == ["b", "b"] and taken.length.tolist() == [3, 2]
    with pytest.raises(ValueError, match="column 'steps'.*1 entries.*2"):
        group.at([0, 1]).__class__(**{**vars(group.at([0, 1])), "columns": {"steps": [1]}})


def test_a_column_that_nobody_asked_for_is_refused_before_the_run():
    objective = Objective.from_specs({"reward": f"{__name__}:Length"})
    with pytest.raises(ConfigError, match=r"no column 'level'.*needs = \(\"columns:level\",\)"):
        trial_score(objective, 4, 64)


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (("completion_texts",), "needs.*'completion_texts'.*'completion_text'"),
        (("columns:",), "needs.*'columns:'.*'columns:<name>'"),
        (("columns",), "needs.*'columns'.*'columns:<name>'"),
        ("completion_text", "needs.* 'completion_text'.*a tuple of names"),
        ((3,), "needs.* a tuple of names"),
    ],
)
def test_needs_that_nothing_provides_are_refused(monkeypatch, needs, message):
    monkeypatch.setattr(Sees, "needs", needs)
    with pytest.raises(ConfigError, match=message):
        Objective.from_specs({"reward": f"{__name__}:Sees"})
