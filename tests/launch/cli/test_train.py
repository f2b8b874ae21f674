"""The command around the trainer: what it reads, prints and refuses before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tersely.core.errors import ConfigError
from tersely.launch.cli import parser, train
from tersely.rl import run


def test_any_key_of_a_recipe_is_an_option_read_as_yaml():
    read = parser.overrides_from(
        ["--learning_rate", "2e-6", "--max_steps=3", "--reward", "{name: alp, beta: 0.3}", "--flag"]
    )
    assert read == {"learning_rate": "2e-6", "max_steps": 3, "reward": {"name": "alp", "beta": 0.3}, "flag": True}
    assert parser.overrides_from(["--seed", "-1", "--loss="]) == {"seed": -1, "loss": None}


def test_a_word_that_stands_alone_is_an_error():
    with pytest.raises(ConfigError, match="argument 'alp'"):
        parser.overrides_from(["--method", "alp", "alp"])


def test_a_dry_run_prints_recipe_table_and_warnings_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--config", "testbed/alp", "--dry-run", "--group_size", "8"]) == 0
    printed = capsys.readouterr().out
    assert "name: alp" in printed and "group_size" in printed and "plan: 60 steps" in printed
    assert not list(tmp_path.iterdir())


def test_the_recipe_is_a_word_or_config_anywhere_among_the_options():
    read = parser.recipe_and_overrides
    rest = ["--seed", "3", "--reward", "{name: alp}"]
    for words in (["r.yaml", *rest], [*rest, "r.yaml"], ["--seed=3", "r.yaml", *rest[2:]]):
        name, left = read(None, words)
        assert name == "r.yaml" and parser.overrides_from(left) == {"seed": 3, "reward": {"name": "alp"}}
    assert read("r.yaml", rest) == ("r.yaml", rest)
    with pytest.raises(ConfigError, match="tersely recipes"):
        read(None, rest)
    with pytest.raises(ConfigError, match="argument 's.yaml'"):
        parser.overrides_from(read("r.yaml", ["s.yaml"])[1])


def test_one_update_per_batch_warns_unless_the_recipe_states_it(tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("method: grpo\nmodel_name_or_path: testbed\ndataset: testbed\nmax_steps: 2\n")
    assert train.main([str(recipe), "--dry-run"]) == 0
    assert "warn: updates_per_batch" in capsys.readouterr().out
    assert train.main([str(recipe), "--dry-run", "--updates_per_batch", "1"]) == 0
    assert "warn: updates_per_batch" not in capsys.readouterr().out


def test_a_plan_for_another_machine(capsys):
    assert train.main(["testbed/alp", "--dry-run", "--gpus", "8", "--gpu-memory", "80", "--mean-tokens", "100"]) == 0
    printed = capsys.readouterr().out
    assert "on 8 ranks" in printed and "at 100 tokens per answer" in printed
    assert "the GPU has 80" in printed and "8 x A100" in printed and "8 x H100" in printed
    with pytest.raises(ConfigError, match="--gpus: needs --gpu-memory"):
        train.main(["testbed/alp", "--dry-run", "--gpus", "8"])
    with pytest.raises(ConfigError, match="--gpus: .*--dry-run"):
        train.main(["testbed/alp", "--gpus", "8", "--gpu-memory", "80"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grup_size", "8"], "'group_size'"),
        (["--micro_batch", "7"], "micro_batch"),
        (["--method", "alpp"], "method 'alpp'.*'alp'"),
        (["--max_steps", "many"], "max_steps.* 'many'"),
        (["--dataset", "no-such-file.jsonl"], "no such file: no-such-file.jsonl"),
        (["--dataset", "/no/such/folder"], "/no/such/folder"),
        (["--dataset", "{file}"], "got no usable row"),
        (["--evaluation", "{{dataset: '{file}', every: 5}}"], "got no usable row"),
        (["--run_dir", "{file}"], "run_dir.* is a file.*folder"),
        (["--run_dir", "{file}/run"], "run_dir.* is a file.*folder"),
        (["--model_name_or_path", "./no-such-model"], "no such folder: ./no-such-model"),
        (["--model_name_or_path", "a b/c"], "got 'a b/c'.*`testbed`, a folder, or a hub id"),
        (
            ["--engine", "vllm_server", "--servers", "[htp://host:1]"],
            "servers.*'htp://host:1'.*address",
        ),
        (["--engine", "vllm_server", "--servers", "[localhost]"], "servers.*'localhost'.*address"),
        (["--chat_template_kwargs", "{{messages: []}}"], "chat_template_kwargs: messages is"),
        (
            ["--chat_template_kwargs", "{{tools: 3}}"],
            "chat_template_kwargs.*{{'tools': 3}}.*works without",
        ),
        (["--max_completion_length", "100000"], "max_completion_length.*100000.*context of 1024"),
        (["--reward", "l1_exact"], "reward l1_exact.*budget"),
        (["--report_to", "mlflow"], "report_to.*'mlflow'.*mlflow"),
        (["--stages", "[{{name: a, steps: 5, settings: {{max_completion_length: 0%}}}}]"], "stage a: .*above 0%"),
        (["--stages", "[{{name: a, steps: 5, settings: {{learning_rate: 50%}}}}]"], "stage a: "),
        (["--mean-tokens", "5000"], "--mean-tokens.*5000.*the cap of 448"),
    ],
)
def test_a_dry_run_finds_what_a_run_would_stumble_over(tmp_path, options, message):
    (tmp_path / "empty.jsonl").touch()
    options = [option.format(file=tmp_path / "empty.jsonl") for option in options]
    with pytest.raises(ConfigError, match=message.format() if "{" in message else message):
        train.main(["--config", "testbed/alp", "--dry-run", *options])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--warmup_steps", "400"], "warmup_steps: got 400"),
        (
            ["--stages", "[{name: a, steps: 5}]"],
            "max_steps: got 60",
        ),
    ],
)
def test_a_dry_run_warns_of_a_value_that_does_nothing(options, words, capsys):
    assert train.main(["testbed/alp", "--dry-run", *options]) == 0
    assert words in capsys.readouterr().out


def test_epochs_become_steps():
    args = SimpleNamespace(max_steps=-1, num_train_epochs=2.0, num_iterations=1)
    run.planned_steps(args, 100, SimpleNamespace(prompts_per_step=8, updates_per_batch=2))
    assert args.max_steps == 48


def test_vllm_that_is_not_installed_says_how_to_install_it(monkeypatch):

    from tersely.engines.vllm import VLLMEngine

    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match="pip install"):
        VLLMEngine("testbed", None)


STAGES = """
import gc, sys, weakref
import yaml
from tersely.configs.recipe import Recipe
from tersely.rl import run

models, alive, real = [], [], run.train_stage

def train_stage(*given):
    gc.collect()
    alive.append([model() is not None for model in models])
    trainer = real(*given)
    models.append(weakref.ref(trainer.model))
    return trainer

run.train_stage = train_stage
last = run.train(Recipe.of(yaml.safe_load(sys.stdin.read())))
assert alive == [[], [False], [False, False]], alive
assert last.model is models[-1]()
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_stage_has_the_memory_of_the_one_before(tmp_path, request, engine):
    """On a GPU two models with their optimisers would lie side by side for the rest of the run."""
    python = request.getfixturevalue("warm_vllm" if engine == "vllm" else "warm_python")
    recipe = {
        "model_name_or_path": "testbed",
        "dataset": {"path": "testbed", "split": "train", "limit": 8},
        "run_dir": str(tmp_path / "run"),
        "method": "grpo",
        "engine": engine,
        "vllm_max_model_length": 224,
        "prompts_per_step": 2,
        "micro_batch": 4,
        "group_size": 2,
        "max_completion_length": 96,
        "gradient_checkpointing": False,
        "max_steps": 1,
        "stages": [
            {"name": "warm", "kind": "sft", "steps": 1, "prompts": 8, "samples": 2, "batch_size": 1},
            {"name": "one", "steps": 1},
            {"name": "two", "steps": 1},
        ],
    }
    done = subprocess.run(
        [python, "-c", STAGES], input=yaml.safe_dump(recipe), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    card = (tmp_path / "run" / "final" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers") and "testbed, trained with GRPO for 1 optimizer" in card
    assert "method: grpo" in card and "- testbed: 8 problems of 8 read" in card
