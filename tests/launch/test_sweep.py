"""Sweeps: what each run is, and that its name says so."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from tersely.configs.load import SLOT_KEYS, load_method, load_recipe
from tersely.core.errors import ConfigError
from tersely.launch import sweep
from tersely.launch.cli import launch_local, launch_slurm
from tersely.launch.cli.parser import overrides_from


def runs(*words: str, recipe: str = "testbed/alp") -> dict[str, dict]:
    """Name -> resolved recipe, by the parser of `launch local`'s axes."""
    import argparse

    parser = argparse.ArgumentParser(allow_abbrev=False)
    sweep.add_options(parser)
    options, rest = parser.parse_known_args(words)
    rest, found = sweep.split_axes(rest)
    stated = overrides_from(rest)
    made = sweep.variants(load_recipe(recipe, stated), sweep.axes_of(options, found), stated)
    for variant in made:  # the words make the same run as the recipe
        assert load_recipe(recipe, {**stated, **overrides_from(variant.words)}) == variant.recipe or not variant.words
    return {variant.name: variant.recipe.to_dict() for variant in made}


def test_three_methods_are_three_methods(tmp_path):
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(yaml.safe_dump(load_recipe("testbed/alp").to_dict()))
    for recipe in ("testbed/alp", str(resolved)):
        made = runs("--sweep", "method=alp,grpo,dler", recipe=recipe)
        assert made["method_alp"]["reward"] == load_recipe("testbed/alp").to_dict()["reward"], (
            "its own method changes nothing"
        )
        for method in ("grpo", "dler"):
            found = made[f"method_{method}"]
            preset = load_method(method)
            assert all(found[slot] == preset[slot] for slot in SLOT_KEYS if slot in preset)
            assert found["learning_rate"] == load_recipe("testbed/alp").to_dict()["learning_rate"]


def test_no_method_has_the_slots_of_none():
    made = runs("--sweep", "method=null,grpo")
    assert not [slot for slot in SLOT_KEYS if slot in made["method_null"]]


@pytest.mark.parametrize(
    "words",
    [
        ("--sweep", "reward=kimi,{name: kimi}"),
        ("--sweep", "method=alp,alp_paper", "--reward=kimi", "--advantage=group_mean", "--loss=clip"),
    ],
)
def test_two_names_of_one_training_are_refused(words):
    with pytest.raises(ConfigError, match="same recipe"):
        runs(*words)


def test_a_slot_of_the_command_line_holds_for_all_methods():
    made = runs("--method", "alp,dler", "--reward", "kimi")
    kimi = load_method("kimi")["reward"][1]
    assert {name: found["reward"] for name, found in made.items()} == {"method_alp": kimi, "method_dler": kimi}


def test_dotted_keys_lists_and_mappings():
    made = runs("--reward.beta", "0.1,0.2", "--sweep", "loss={name: clip, clip_high: 0.3},sapo", "--seeds", "1,2")
    assert len(made) == 8
    found = made["seed_2-loss_name_clip_clip_high_0.3-reward.beta_0.1"]
    assert found["seed"] == 2 and found["reward"]["beta"] == 0.1 and found["loss"]["clip_high"] == 0.3
    assert found["reward"]["normalizer"] == load_recipe("testbed/alp").to_dict()["reward"]["normalizer"]
    made = runs("--sweep", "reward=[correctness, alp],[correctness, {name: kimi, weight: 0.5}]")
    assert [found["reward"] for found in made.values()] == [
        ["correctness", load_method("alp")["reward"]],
        ["correctness", load_method("kimi")["reward"][1]],
    ]


def test_commas_inside_brackets_do_not_keep_the_others_from_separating():
    made = runs("--reward", "[correctness, {name: kimi, weight: 0.5}],correctness")
    assert [found["reward"] for found in made.values()][1] == "correctness" and len(made) == 2
    data = "{path: testbed, limit: 8, columns: {problem: a, answer: b}}"
    made = runs("--dataset", f"{data}, {data.replace('8', '16')}")
    assert [found["dataset"]["limit"] for found in made.values()] == [8, 16]


def test_text_with_commas_is_no_sweep():
    assert list(runs("--instruction", "First, think, then answer.")) == [""]
    assert list(runs("--report_to", "[wandb,trackio]")) == [""]
    made = runs("--sweep", "instruction=\"First, think.\",'Be brief: 3 words # at most.'")
    assert [found["instruction"] for found in made.values()] == ["First, think.", "Be brief: 3 words # at most."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1,2", "--sweep", "seed=3,4"], "seed: swept twice"),
        (["--seeds", "1,2", "--seed", "3,4"], "seed: swept twice"),
        (["--seeds", "1,2", "--seed", "3"], "seed"),
        (["--seeds", "1,1"], "the same run twice"),
        (["--seeds", "1,01"], "the same run twice"),
        (["--sweep", "learning_rate=1e-6,0.000001"], "the same run twice"),
        (["--sweep", "run_dir=a,b"], "run_dir"),
        (["--sweep", "reward.beta=[1,2"], "']'"),
        (["--sweep", "learning_rate=1e-6,"], "--sweep.*'learning_rate=1e-6,'"),
    ],
)
def test_names_that_would_be_wrong_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        runs(*words)


def test_the_name_has_the_number_that_is_used():
    assert [found["seed"] for found in runs("--sweep", "seed=010,3").values()] == [8, 3]
    assert list(runs("--sweep", "seed=010,3")) == ["seed_8", "seed_3"]
    assert list(runs("--seeds", "010,3")) == ["seed_10", "seed_3"]


def test_a_stage_that_hides_the_swept_value_is_refused(tmp_path):
    path = tmp_path / "staged.yaml"
    path.write_text(
        "model_name_or_path: testbed\nmax_steps: 4\n"
        "stages: [{name: a, share: 0.5, settings: {seed: 9}}, {name: b, share: 0.5}]\n"
    )
    with pytest.raises(ConfigError, match="stage a sets seed"):
        runs("--seeds", "1,2", recipe=str(path))


def test_a_named_run_keeps_its_name_apart_in_services():
    made = runs("--run_name", "mine", "--seeds", "1,2")
    assert [found["run_name"] for found in made.values()] == ["mine-seed_1", "mine-seed_2"]


def test_a_list_for_a_single_run_names_the_launchers(capsys):
    from tersely.launch.cli.main import main

    assert main(["train", "testbed/alp", "--dry-run", "--reward.beta", "0.1,0.2"]) == 2
    assert "tersely launch local" in capsys.readouterr().err


def test_both_launchers_show_the_same_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["testbed/alp", "--dry-run", "--sweep", "method=alp,grpo", "--seeds", "1,2"]
    assert launch_local.main(words) == 0
    printed = capsys.readouterr()
    names = [f"seed_{seed}-method_{method}" for seed in (1, 2) for method in ("alp", "grpo")]
    assert [line.rpartition("/")[2] for line in printed.out.splitlines()] == names
    assert launch_slurm.main([*words, "--gpus-per-node", "0"]) == 0
    assert all(f"/{name}" in capsys.readouterr().out for name in names[:1])


@pytest.mark.slow
def test_a_local_sweep_trains_each_run_and_reports_over_all(tmp_path, monkeypatch, capfd, warm_python):
    monkeypatch.setattr(sys, "executable", warm_python)
    monkeypatch.chdir(tmp_path)
    tiny = "--max_steps 1 --group_size 2 --prompts_per_step 2 --micro_batch 2 --max_completion_length 8 --save_steps 1"
    words = ["testbed/alp", *tiny.split(), "--run_dir", str(tmp_path / "runs"), "--method", "alp,grpo"]
    assert (
        launch_local.main([*words, "--eval", "testbed", "--eval-options", "--limit 2 --samples 1 --max-new-tokens 8"])
        == 0
    )
    for method in ("alp", "grpo"):
        folder = tmp_path / "runs" / f"method_{method}"
        stored = yaml.safe_load((folder / "config.yaml").read_text())
        assert stored["reward"] == load_recipe("testbed/alp" if method == "alp" else "testbed/grpo").to_dict()["reward"]
        assert (folder / "final" / "config.json").is_file()
    report = json.loads((tmp_path / "runs" / "report" / "report.json").read_text())
    assert {run["name"] for run in report["runs"]} == {"method_alp", "method_grpo"}
    before = capfd.readouterr().out
    assert "method_grpo: finished" in before
