"""Every key of a recipe with values of every kind: a dry run accepts it, or refuses it in one line that names it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import random
import warnings

import pytest
from hypothesis import settings
from trl import GRPOConfig

from tersely.configs.cold_start import ColdStart
from tersely.configs.dataset import SourceSpec
from tersely.configs.evaluation import EvaluationSpec
from tersely.configs.guards import Guards
from tersely.configs.load import with_overrides
from tersely.configs.recipe import DERIVED, KEYS, Recipe
from tersely.configs.verifier import JudgeSection, Policy, VerifierSpec
from tersely.core.build import registry
from tersely.core.errors import ConfigError
from tersely.launch.preflight.outline import dry_run
from tersely.rl.config.sections import LOADING
from tersely.rl.trl.unused_fields import LEFT_OUT, NEVER_READ, OF_TRLS_LOSSES

RECIPE = {"model_name_or_path": "testbed", "prompts_per_step": 4, "group_size": 4, "micro_batch": 4, "max_steps": 50}
OPTIONS = argparse.Namespace(gpus=None, gpu_memory=None, mean_tokens=None, show_tokens=False)
NAN, HUGE = float("nan"), 10**30
VALUES = (None, -1, 0, NAN, float("inf"), "x", [], {}, True, 1e300, HUGE, [None], {"nosuch": 1})
KINDS = (None, -1, NAN, "x", [], {}, True, HUGE)
"""Fewer, where a check of types stands before everything else."""
REFUSED = {*DERIVED, *NEVER_READ, *OF_TRLS_LOSSES, *LEFT_OUT}
SLOTS = ("prompting", "sampling", "reward", "advantage", "loss", "filter", "controller")
JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "m"}


def fields(cls) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if f.init]


def tried(changes: dict, word: str) -> str | None:
    """What is wrong with how the recipe is taken, None where it is accepted or refused as it should be."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dry_run(Recipe.of(with_overrides({**RECIPE, **changes}, {})), OPTIONS)
    except ConfigError as error:
        text = str(error)
        return None if "\n" not in text and word in text and len(text) < 1500 else f"{changes}: {text}"
    except Exception as error:
        return f"{changes}: {error!r}"
    return None


def walk(cases) -> None:
    """Under the profile of CI some of the cases, the same ones each time."""
    draw, share = random.Random(0), settings().max_examples / 50
    chosen = (case for case in cases if draw.random() < share)
    wrong = [fault for changes, word in chosen if (fault := tried(changes, word)) is not None]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_keys_of_a_recipe(part):
    keys = [*KEYS, *(name for name in fields(GRPOConfig) if name not in REFUSED)]
    words = {"controllers": "controller", "stages": "stage", "guards": "guard"}
    walk(({key: value}, words.get(key, key)) for key in keys[part::4] for value in VALUES)


@pytest.mark.slow
@pytest.mark.parametrize("slot", SLOTS)
def test_parameters_of_components(slot):
    def cases():
        for name, cls in registry(slot).items():
            for parameter in [*fields(cls), "nosuch"] if dataclasses.is_dataclass(cls) else ["nosuch"]:
                for value in KINDS:
                    spec = {"name": name, parameter: value}
                    yield {"controllers": [spec]} if slot == "controller" else {slot: spec}, name.split("_")[0]

    walk(cases())


def test_names_of_components():
    names = (None, 1, "x", [], {}, ":", ".", "a.b:c", "os:path", "os.path:nosuch", "json:JSONDecodeError")
    walk(
        ({"controllers": [spec]} if slot == "controller" else {slot: spec}, slot)
        for slot in SLOTS
        for name in names
        for spec in (name, {"name": name})
        if spec is not None and spec != []
    )


def test_guards():
    def cases():
        for one in dataclasses.fields(Guards):
            name, cls = one.name, one.default_factory
            for value in KINDS:
                yield {"guards": {name: value}}, name
                for field in [*fields(cls), "nosuch"]:
                    yield {"guards": {name: {field: value}}}, field

    walk(cases())


@pytest.mark.slow
def test_evaluation_and_data():
    def cases():
        base = {"every": 5, "dataset": "testbed"}
        for value in VALUES:
            for field in [*fields(EvaluationSpec), "nosuch"]:
                yield {"evaluation": {**base, field: value}}, field
            for field in [*fields(SourceSpec), "nosuch"]:
                for path in ("testbed", "reasoning_gym:leg_counting"):
                    if field in ("path", "name") and path != "testbed":
                        continue
                    source = {"path": path, field: value}
                    yield {"dataset": source}, field
                    yield {"evaluation": {**base, "dataset": source}}, field
            for column in ("problem", "answer", "level", "nosuch"):
                yield {"dataset": {"path": "testbed", "columns": {column: value}}}, column
                yield {"dataset": {"path": "testbed", "transform": {column: value}}}, column
                yield {"dataset": {"path": "testbed", "filter": {column: {"at_most": value}}}}, column
            yield {"dataset": {"path": "testbed", "parameters": {"levels": value}}}, "levels"

    walk(cases())


def test_verifier():
    def cases():
        for value in KINDS:
            for field in [*fields(VerifierSpec), "nosuch"]:
                yield {"verifier": {field: value}}, field
            for field in [*fields(JudgeSection), "nosuch"]:
                yield {"verifier": {"judge": {**JUDGE, field: value}}}, field
            for field in [*fields(Policy), "nosuch"]:
                yield {"verifier": {"policy": {field: value}}}, field

    walk(cases())


def test_what_others_read():
    def cases():
        for value in VALUES:
            for key in (*LOADING, "nosuch", "attention_dropout", ""):
                yield {"model_init_kwargs": {key: value}}, key
            for key in ("enable_thinking", "tokenize", "add_generation_prompt", "", 1, None):
                yield {"chat_template_kwargs": {key: value}}, "chat_template_kwargs"
            for name in ("A", "", "a b", "1A", 1, None):
                yield {"env": {name: value}}, "env"
            for key in ("use_reentrant", "nosuch"):
                yield {"gradient_checkpointing_kwargs": {key: value}}, key

    walk(cases())


@pytest.mark.slow
def test_stages():
    def cases():
        last = {"name": "last", "steps": 50}
        for value in VALUES:
            yield {"stages": [value]}, "stage"
            yield {"stages": [{"name": "a", "steps": 50, "settings": value}]}, "stage a"
            for field in ("name", "kind", "steps", "nosuch"):
                yield {"stages": [{"name": "a", "steps": 50, field: value}]}, field
            yield {"stages": [{"name": "a", "share": value}]}, "share"
            for key in ("learning_rate", "reward", "evaluation", "dataset", "verifier", "guards"):
                yield {"stages": [{"name": "a", "steps": 50, key: value}]}, key.rstrip("s")
            for field in [*fields(ColdStart), "nosuch"]:
                yield (
                    {"stages": [{"name": "w", "kind": "sft", "steps": 4, field: value}, last]},
                    field[:5],
                )
            for key in ("learning_rate", "max_length", "packing", "seed", "optim", "warmup_steps", "nosuch"):
                yield {"stages": [{"name": "w", "kind": "sft", "steps": 4, "settings": {key: value}}, last]}, key

    walk(cases())
