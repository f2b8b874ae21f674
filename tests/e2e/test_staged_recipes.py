"""The staged recipes of the embedded model, a few steps of each: stopped in every stage in turn, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tersely.configs.load import load_recipe
from tersely.configs.recipe import Recipe

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SMALL = {
    "dataset": {"name": "testbed", "split": "train", "limit": 24},
    "prompts_per_step": 2,
    "group_size": 8,
    "micro_batch": 8,
    "max_completion_length": 64,
    "gradient_checkpointing": False,
    "warmup_steps": 0,
    "save_steps": 1,
}
COLD = {"steps": 2, "prompts": 12, "samples": 2, "batch_size": 4}


class Stopped(Exception):
    pass


def small(name: str, run_dir: Path) -> dict:
    """The shipped recipe with every stage cut down to two steps."""
    recipe = {**load_recipe(f"testbed/{name}").to_dict(), **SMALL, "run_dir": str(run_dir)}
    stages = [dict(stage) for stage in recipe.get("stages") or []]
    for stage in stages:
        stage.pop("share", None)
        stage |= COLD if stage.get("kind") == "sft" else {"steps": 2}
        stage["settings"] = {**stage.get("settings", {}), **({"save_steps": 1} if stage.get("kind") == "sft" else {})}
        stage["settings"].pop("max_completion_length", None)
    return {**recipe, "max_steps": 2, "stages": stages}


def run(recipe: dict, stop_after: int | None, monkeypatch) -> None:
    """Train, or go on; end without any farewell once `stop_after` steps of all stages are done."""
    from tersely.rl.recording.callbacks import RunFiles
    from tersely.rl.run import train

    def on_step_begin(self, args, state, control, **kwargs):
        if stop_after is not None and self.metrics.first_step + state.global_step >= stop_after:
            raise Stopped

    monkeypatch.setattr(RunFiles, "on_step_begin", on_step_begin)
    resume = Path(recipe["run_dir"]).is_dir()
    if stop_after is None:
        train(Recipe.of(recipe), resume=resume)
        return
    with pytest.raises(Stopped):
        train(Recipe.of(recipe), resume=resume)


def facts(run_dir: Path) -> tuple[list, pd.DataFrame]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    files = sorted((run_dir / "completions").glob("*.parquet"))
    return (
        [(line["step"], line.get("stage"), round(line["loss"], 4)) for line in lines if "loss" in line],
        pd.concat([pd.read_parquet(file) for file in files], ignore_index=True),
    )


# a cold start first, and the stages after it; test_resume.py has one stage, test_stages.py a memory that crosses stages
@pytest.mark.parametrize(
    "name",
    [
        "selfbudgeter",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("alp", "lapo", "arm", "autothink", "hbpo")),
    ],
)
def test_stopped_in_every_stage_it_ends_as_one_that_never_was(name, tmp_path, monkeypatch):
    whole, pieces = small(name, tmp_path / "whole"), small(name, tmp_path / "pieces")
    count = 2 * max(1, len(whole["stages"]))
    run(whole, None, monkeypatch)
    for stop_after in range(1, count, 2):  # behind the first of each stage's two steps
        run(pieces, stop_after, monkeypatch)
    run(pieces, None, monkeypatch)
    expected, found = facts(tmp_path / "whole"), facts(tmp_path / "pieces")
    assert [line[:2] for line in expected[0]] == [line[:2] for line in found[0]]
    assert [line[2] for line in found[0]] == pytest.approx([line[2] for line in expected[0]], abs=2e-4)
    assert expected[1].text.tolist() == found[1].text.tolist()
    assert yaml.safe_load((tmp_path / "pieces" / "config.yaml").read_text())["method"] == name
