"""docs/reference.md: its tables are those of the code, and its examples run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import gen_tables as tables
import pandas as pd
import pytest
import yaml
from support.launcher import Launcher

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.check import check_recipe
from tests.e2e.test_adding_a_method import embedded_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def write_examples(folder: Path) -> dict:
    """The files of the page, and its recipe with the other two examples beside the first."""
    for name, code in zip(("perstep", "hedging", "confident"), blocks("python"), strict=True):
        (folder / f"{name}.py").write_text(code)
    (folder / "sums.jsonl").write_text(blocks("json")[0])
    recipe = yaml.safe_load(blocks("yaml")[0])
    hedging = {"name": "hedging:Hedging", "weight": 0.1, "words": ["=", "so", "wait", "check"]}
    model = embedded_model(folder / "model")
    return {
        **recipe,
        "model_name_or_path": model,
        "reward": [recipe["reward"], hedging],
        "loss": "confident:Confident",
        "updates_per_batch": 1,
        "gradient_checkpointing": False,
        "save_strategy": "no",
    }


@pytest.mark.parametrize("name", ["rollouts", "token_batch", "hooks", "keys"])
def test_the_tables_are_those_of_the_code(name):
    start, end = tables.markers(name)
    shown = PAGE.partition(start)[2].partition(end)[0].strip()
    assert shown == tables.tables()[name]().strip(), "run: python docs/gen_tables.py --write docs/reference.md"


def test_the_check_before_a_run_takes_the_examples_and_refuses_a_missing_column(tmp_path, monkeypatch):
    recipe = write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    check_recipe(Recipe.of(recipe), 1)
    data = tmp_path / "sums.jsonl"
    data.write_text(data.read_text().replace("steps", "step"))
    with pytest.raises(ConfigError, match=r"sums.jsonl: no column 'steps', .*'step'"):
        check_recipe(Recipe.of(recipe), 1)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("engine", "ranks"), [("transformers", 2), pytest.param("vllm", 1, marks=pytest.mark.vllm)], ids=["ranks", "vllm"]
)
def test_the_examples_train(tmp_path, monkeypatch, request, engine, ranks):
    """The rewards read texts and columns: those of every rank, and those of another engine."""
    python = request.getfixturevalue("warm_vllm" if engine == "vllm" else "warm_python")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    launcher = Launcher(tmp_path, python)
    recipe = {**write_examples(tmp_path), "micro_batch": 16, "max_steps": 1, "engine": engine}
    recipe.pop("run_dir")
    done = launcher.run("run", processes=ranks, **recipe)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert launcher.ranks("run") == ranks
    rows = launcher.completions("run")
    assert len(rows) == 32
    steps = {
        row["problem"]: row["steps"] for row in map(json.loads, (tmp_path / "sums.jsonl").read_text().splitlines())
    }
    for row in rows.itertuples():
        assert json.loads(row.columns) == {"steps": steps[row.problem]}
    words = rows.text.str.lower().str.split()
    shares = words.map(
        lambda ws: sum(word.strip(".,") in ("=", "so", "wait", "check") for word in ws) / max(len(ws), 1)
    )
    excess = (rows.length / (12 * rows.problem.map(steps)) - 1).clip(0, 1)
    expected = rows.correct * (1 - 0.5 * excess)
    pd.testing.assert_series_equal(rows["reward/perstep:PerStep"], expected, check_names=False, atol=1e-5)
    pd.testing.assert_series_equal(rows["reward/hedging:Hedging"], -shares, check_names=False, atol=1e-5)
    assert shares.any() and (tmp_path / "run" / "metrics.jsonl").read_text().count("confident/entropy")
