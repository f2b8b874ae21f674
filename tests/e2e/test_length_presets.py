"""The presets whose plans, modes, budgets or memories need the rollout code: two real steps of each, every stage."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tersely.configs.load import SLOT_KEYS, load_method
from tersely.configs.recipe import Recipe

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PRESETS = [
    "hbpo",  # budgets that differ inside a group
    "lapo",  # a memory that the next stage reads
    "selfbudgeter",  # a budget that the model writes
    "arm",  # formats as modes
    "adaptthink",  # modes that differ inside a group, a forced first token
    "thinkless",  # control tokens
    "l1_exact",  # a sampled budget in the prompt
    "elastic",  # two budgets
    "laser_de",  # targets that follow the groups
]
OTHERS = ["autothink", "l1_max", "thinkprune", "budgetthinker", "hapo_history", "acoer"]
"""They differ from one of the first in a text or a formula, which tests/algorithms and tests/rewards cover."""
MODES = {
    "adaptthink": {"think", "no_think"},
    "autothink": {"think", "no_think"},
    "arm": {"none", "direct", "short_cot", "code", "long_cot"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """An untrained model of the embedded one's shape: what is tested is the way of a plan through the trainer."""
    from tersely.testbed.cold_start import new_model, save
    from tersely.testbed.tokenizer import build_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("model"), build_tokenizer()
    save(new_model(tokenizer), tokenizer, folder)
    return str(folder)


CAP = 40


def stages(name: str) -> list[dict]:
    """The slots of each stage of a method under the cap of this test."""
    method = {key: value for key, value in load_method(name).items() if key in (*SLOT_KEYS, "stages")}
    recipe = {**method, "model_name_or_path": "m", "max_steps": 100, "max_completion_length": CAP}
    found = [stage.recipe.to_dict() for stage in Recipe.of(recipe).stages if stage.kind != "sft"]
    return [{k: v for k, v in stage.items() if k in SLOT_KEYS} for stage in found]


CASES = [(name, i) for name in PRESETS for i in range(len(stages(name)))]
CASES += [pytest.param(name, i, marks=pytest.mark.exhaustive) for name in OTHERS for i in range(len(stages(name)))]


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_two_steps(name, stage, model, tmp_path):
    from tersely.rl.run import train

    recipe = {
        **stages(name)[stage],
        "model_name_or_path": model,
        "dataset": {"name": "testbed", "split": "train", "limit": 32},
        "prompts_per_step": 2,
        "group_size": 8,
        "micro_batch": 8,
        "max_steps": 2,
        "max_completion_length": CAP,
        "save_steps": 2,
        "run_dir": str(tmp_path / "run"),
        "gradient_checkpointing": False,
    }
    train(Recipe.of(recipe), resume=False)
    rows = pd.concat(pd.read_parquet(file) for file in Path(tmp_path / "run/completions").glob("*.parquet"))
    assert len(rows) == 32
    assert (rows.reward.isna() == rows.correct.isna()).all() and rows.advantage.notna().all()
    assert set(rows["mode"]) <= MODES.get(name, set(rows["mode"]))
    if name == "hbpo":
        budgets = rows.groupby(["step", "prompt_id"]).budget.apply(lambda column: sorted(set(column)))
        assert all(values == [512, 1024, 2048, 2560] for values in budgets)
        assert rows.prompting.str.contains("I will answer the question with 512 tokens").sum() == 8
    if name == "adaptthink":
        assert (rows["mode"] == "no_think").sum() == 16
    if name in ("l1_exact", "l1_max", "thinkprune", "budgetthinker") or (name, stage) == ("lapo", 1):
        assert all(not math.isnan(budget) for budget in rows.budget)
