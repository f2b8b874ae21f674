"""docs/adding-a-method.md, done: its files are taken from the page, its commands are run, on a short run."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tersely.testbed import model_path

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-method.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE.name} has no {language} block"
    return found.group(1)


def embedded_model(folder: Path) -> str:
    """The embedded model, or an untrained one of its shape where its weights are not in the tree."""
    if (model_path() / "config.json").exists():
        return "testbed"
    from tersely.testbed.cold_start import new_model, save
    from tersely.testbed.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    save(new_model(tokenizer), tokenizer, folder)
    return str(folder)


def run(python: str, command: list[str], folder: Path) -> str:
    paths = os.pathsep.join([".", str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [python, "-m", "tersely", *command],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        cwd=folder,
    )
    assert done.returncode == 0, (command, (done.stdout + done.stderr)[-4000:])
    return done.stdout


def test_a_users_reward_goes_from_formula_to_report(tmp_path, warm_python):
    code = block("python")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    (tmp_path / "brevity.py").write_text(code)
    model = embedded_model(tmp_path / "model")
    short = {"model_name_or_path": model, "prompts_per_step": 4, "group_size": 4, "micro_batch": 16}
    short |= {"max_steps": 2, "max_completion_length": 48, "save_steps": 2, "gradient_checkpointing": False}
    recipe = {**yaml.safe_load(block("yaml")), **short}
    (tmp_path / "brevity.yaml").write_text(yaml.safe_dump(recipe))

    for line in block("bash").splitlines():
        words = line.split()
        if words[0] != "tersely":
            continue
        words = [model if word == "testbed" and words[1] == "eval" and i == 2 else word for i, word in enumerate(words)]
        if words[1] == "eval":
            words += ["--limit", "8", "--samples", "2"]
        run(warm_python, words[1:], tmp_path)

    rows = pd.concat(pd.read_parquet(file) for file in (tmp_path / "runs/brevity/completions").glob("*.parquet"))
    assert len(rows) == 32 and "reward/brevity:Brevity" in rows
    for _, group in rows.groupby(["step", "prompt_id"]):
        right = group.loc[group.correct == 1, "length"].tolist()
        for row in group.itertuples():
            value = row.reward
            if row.correct == 1:
                assert value == pytest.approx(
                    1 - 0.5 * min(max(row.length / statistics.median(right) - 1, 0), 1), abs=1e-6
                )
            elif row.correct == 0:
                assert value == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {facts["name"] for facts in report["runs"]} == {"base", "brevity"}
    assert report["comparisons"][0]["verdict"]


def test_a_wrong_parameter_of_the_users_reward_is_named(tmp_path, warm_python):
    (tmp_path / "brevity.py").write_text(block("python"))
    recipe = {**yaml.safe_load(block("yaml")), "reward": {"name": "brevity:Brevity", "strenght": 0.5}}
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [warm_python, "-m", "tersely", "train", "--config", "typo.yaml", "--dry-run"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode != 0 and "'strength'" in done.stdout + done.stderr
