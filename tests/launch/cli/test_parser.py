"""A misspelt option names the nearest one, in a line, on every command; before a job is written or a process is started."""

from __future__ import annotations

import dataclasses

import pytest

from tersely.core.errors import ConfigError
from tersely.launch.cli.main import main
from tersely.launch.cli.parser import recipe_keys


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval testbed --sampels 3", "--samples"),
        ("eval testbed other --benchmarks testbed", "unexpected argument 'other'"),
        ("report a --bsae b", "--base"),
        ("compare a", "the following arguments are required: B"),
        ("interop import lm-evl x", "'lm-eval'"),
        ("interop export lm-eval x --otu y --out z", "--out"),
        ("verify x.jsonl --contarct boxed", "--contract"),
        ("testbed measure --problmes 5", "--problems"),
        ("quickstart --seeed 1", "--seed"),
        ("fit sael m r --out v", "'seal'"),
    ],
)
def test_a_misspelt_option_is_one_line_with_the_nearest(line, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert words in error and "--help`)" in error


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("train --config testbed/alp --dry-runn", "--dry-run"),
        ("train --config testbed/alp --max_stps 3 --dry-run", "max_steps"),
        ("serve testbed/alp --prot 3", "--port"),
        ("launch local testbed/alp --retriess 2 --dry-run", "--retries"),
        ("launch slurm testbed/alp --gpus-per-node 1 --partitoin gpu --dry-run", "--partition"),
        ("launch slurm testbed/alp --gpus-per-node 1 --sweep learningrate=1,2 --dry-run", "learning_rate"),
    ],
)
def test_a_word_that_is_neither_key_nor_option_is_refused(line, nearest, capsys):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert f"'{nearest}'" in printed.err and not printed.out


def test_preflight_refuses_an_unknown_option_as_train_does(capsys):
    assert main(["preflight", "testbed/alp", "--rolluots", "3"]) == 2
    assert "'--rollouts'" in capsys.readouterr().err


def test_the_list_of_keys_is_that_of_the_recipe_and_of_trl():
    from trl import GRPOConfig

    from tersely.configs.recipe import KEYS
    from tersely.engines.activation_checkpointing import NEW_NAMES

    theirs = {field.name for field in dataclasses.fields(GRPOConfig) if field.init}
    assert recipe_keys() == sorted({*KEYS, *theirs, *NEW_NAMES, *NEW_NAMES.values()})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--eval", "math50"], "'math500'"),
        (["--seeds", "1,a"], "--seeds.*'1,a'.*whole numbers"),
    ],
)
def test_a_job_that_would_fail_hours_later_is_not_written(options, words):
    from tersely.launch.cli.launch_slurm import main as slurm

    with pytest.raises(ConfigError, match=words):
        slurm(["testbed/alp", "--gpus-per-node", "1", "--dry-run", *options])


def test_options_of_the_evaluation_behind_a_job_are_read_now(capsys):
    line = ["launch", "slurm", "testbed/alp", "--gpus-per-node", "1", "--eval", "testbed", "--dry-run"]
    assert main([*line, "--eval-options", "--samples 3"]) == 0
    with pytest.raises(SystemExit):
        main([*line, "--eval-options", "--sampels 3"])
    assert "--samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "train --config testbed/alp --learning_rate [1 --dry-run",
            "--learning_rate: invalid YAML value '[1'",
        ),
        ("launch slurm testbed/alp --gpus-per-node 1 --micro_batch abc --dry-run", "micro_batch: got 'abc'"),
        ("serve {empty} --dry-run", "missing model_name_or_path"),
    ],
)
def test_values_that_cannot_be_meant_are_one_line(line, words, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("TERSELY_DEBUG", raising=False)
    (tmp_path / "empty.yaml").write_text("")
    assert main(line.format(empty=tmp_path / "empty.yaml").split()) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
