"""The presets of the token-level methods in the real trainer: two optimiser steps of one generation batch, then another."""

from __future__ import annotations

import json
import math

import pytest

from tersely.configs.load import SLOT_KEYS, load_method
from tersely.configs.recipe import Recipe

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PRESETS = [
    "hapo",  # temperature, bounds and credit by entropy
    "cispo",  # a ratio of each token
    "gspo",  # a ratio of each sequence
    "archer",  # a reference model
    "clip_cov",  # tokens of a batch without a gradient
    "bapo",  # bounds that are searched in each micro-batch
    "dcpo",  # an advantage with a memory
    "ktae",  # an advantage from token ids
    "gtpo",  # an advantage from entropy
    "ares",  # a reward from entropy, and its controller
    "entropy_target",  # a controller in the loss
    "luspo",  # TRL's own loss
]
OTHERS = [
    *("hapo_as_released", "sapo", "gspo_token", "gmpo", "vespo", "high_entropy_20", "kl_cov"),
    *("qae", "entropy_shaped", "grpo_s", "tea_rl", "opsdc", "aligndistil"),
]
"""They differ from one of the first in a formula, which tests/algorithms covers."""


@pytest.mark.parametrize("name", [*PRESETS, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)])
@pytest.mark.filterwarnings("ignore:gspo with form")
def test_two_updates_of_two_batches(name, tmp_path):
    from tersely.rl.run import train

    method = load_method(name)
    terms = method["reward"] if isinstance(method["reward"], list) else [{"name": method["reward"]}]
    recipe = {
        **{key: method[key] for key in SLOT_KEYS if key in method},
        "reward": [{**term, "cache": 8} if "cache" in term else term for term in terms],
        **{key: value for key, value in method["settings"].items() if key == "loss_type"},
        "filter": "keep_all",  # at cap 24 hardly a group is mixed, and every policy is to see tokens
        "model_name_or_path": "testbed",
        "dataset": {"name": "testbed", "split": "train", "limit": 32},
        "prompts_per_step": 2,
        "group_size": 4,
        "micro_batch": 4,
        "updates_per_batch": 2,
        "max_steps": 4,
        "learning_rate": 1e-4,
        "max_completion_length": 24,
        "save_strategy": "no",
        "run_dir": str(tmp_path / "run"),
        "gradient_checkpointing": False,
    }
    train(Recipe.of(recipe), resume=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert len(steps) == 4 and all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in steps)
