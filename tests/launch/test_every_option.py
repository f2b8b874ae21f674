"""Every option of every command: paths expand `~` and variables, numbers have a range, and a bad value is one line."""

from __future__ import annotations

import argparse
import re
from importlib import import_module

import pytest

from tersely.core.paths import PATH_KEYS, path_option, place_option
from tersely.launch.cli.main import COMMANDS, LAUNCH, TESTBED

PROGRAMS = sorted(
    target
    for table in (COMMANDS, LAUNCH, TESTBED)
    for target, _ in table.values()
    if target not in ("tersely.launch.cli.main:launch", "tersely.launch.cli.main:testbed")
)
NO_PATH = {
    "names": {
        "name",
        "names",
        "benchmarks",
        "data",
        "runs",
        "eval",
        "eval_options",
        "methods",
        "strategy",
        "frontier",
        "engine",
        "scorer",
    },
    "texts": {"instruction", "system_prompt", "chat_template_kwargs", "border", "gold", "response", "metric", "filter"},
    "lists": {"budgets", "seeds", "sweep", "env", "module", "sbatch", "shell"},
    "slurm": {"time", "partition", "account", "qos", "constraint", "mem", "job_name"},
    "others": {"host"},
}
"""Options whose text is no path, or that are taken apart before their paths are expanded (runs, benchmarks, strategy)."""


class Found(BaseException):
    pass


def parser_of(program: str, monkeypatch) -> argparse.ArgumentParser:
    """The parser that a command makes, taken when it is about to parse."""
    module, _, function = program.partition(":")

    def parse(self, args=None, namespace=None):
        raise Found(self)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
        with pytest.raises(Found) as caught:
            getattr(import_module(module), function)([])
    return caught.value.args[0]


def options_of(program: str, monkeypatch) -> list[argparse.Action]:
    parsers = [parser_of(program, monkeypatch)]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    kinds = (argparse._StoreAction, argparse._AppendAction)
    return [action for parser in parsers for action in parser._actions if isinstance(action, kinds)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_option_is_a_path_a_choice_a_number_or_known_to_be_none(program, monkeypatch):
    others = set().union(*NO_PATH.values())
    for action in options_of(program, monkeypatch):
        if action.choices is None and action.type is None:
            assert action.dest in others, (
                f"{program}: {action.dest} has no type; give a path place_option or path_option"
            )
        assert action.type not in (int, float), f"{program}: {action.dest} has no range; use whole() or number()"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_path_expands_and_a_variable_that_is_missing_is_one_line(program, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.setenv("EMPTY", "")
    for action in options_of(program, monkeypatch):
        if action.type not in (path_option, place_option):
            continue
        for given, wanted in (("~/x", "/home/me/x"), ("$SCRATCH/x", "/scratch/x"), ("${SCRATCH}/y", "/scratch/y")):
            assert str(action.type(given)) == wanted
        assert str(action.type("org/model")) == "org/model"
        for given in ("$NOWHERE/x", "${NOWHERE}", "$EMPTY/x", "~nobody-of-this-name/x"):
            with pytest.raises(argparse.ArgumentTypeError, match="Export it|Write the full path"):
                action.type(given)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_number_that_cannot_be_is_refused(program, monkeypatch):
    for action in options_of(program, monkeypatch):
        if action.type in (None, path_option, place_option) or action.choices is not None:
            continue
        for given in ("nan", "inf", "-inf", "many", "", "-1", "1e400", str(10**30)):
            with pytest.raises(argparse.ArgumentTypeError) as refused:
                pytest.fail(f"{program} {action.dest}: {given} is {action.type(given)}")
            assert "\n" not in str(refused.value) and (
                "expected" in str(refused.value) or "must be" in str(refused.value)
            )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval testbed --benchmarks testbed --out /tmp/x --samples 0", "--samples.*0.*1"),
        ("eval testbed --benchmarks testbed --out /tmp/x --temperature -1", "--temperature: got -1.0; expected"),
        ("eval testbed --benchmarks testbed --out /tmp/x --top-p 1.5", "--top-p: got 1.5; expected above 0 and at"),
        ("eval testbed --benchmarks testbed --out /tmp/x --seed -3", "--seed.*-3.*0"),
        ("eval testbed --benchmarks testbed --out $NO_SUCH/x", "NO_SUCH"),
        (
            "launch slurm testbed/alp --gpus-per-node two --dry-run",
            "--gpus-per-node: got 'two'; expected a whole number",
        ),
        ("verify x.jsonl --timeout nan", "--timeout: got nan; expected above 0"),
    ],
)
def test_the_line_of_a_bad_value_names_option_value_and_range(line, words, capsys):
    from tersely.launch.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(line.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and re.search(words, error) and error.count("\n") == 1


def test_every_key_of_a_recipe_that_may_be_a_path_expands(tmp_path, monkeypatch):
    import yaml

    from tersely.configs.load import resolved_values

    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    (tmp_path / "m.yaml").write_text("reward: correctness\n")
    path = tmp_path / "r.yaml"
    recipe = {key: "$SCRATCH/m.yaml" for key in PATH_KEYS if key != "cache_dir"}
    data = [{"path": "~/a.jsonl", "columns": {"problem": "$q"}}, "${SCRATCH}/b.jsonl", {"name": "testbed"}]
    recipe |= {"dataset": data, "evaluation": {"every": 5, "dataset": data}, "model_init_kwargs": {"cache_dir": "~/c"}}
    recipe["stages"] = [{"name": "one", "dataset": data, "settings": {"deepspeed": "~/ds.json"}}]
    path.write_text(yaml.safe_dump(recipe))
    found = resolved_values("$SCRATCH/r.yaml")
    assert {found[key] for key in PATH_KEYS if key != "cache_dir"} == {str(tmp_path / "m.yaml")}
    wanted = [{"path": "/home/me/a.jsonl", "columns": {"problem": "$q"}}, f"{tmp_path}/b.jsonl", {"name": "testbed"}]
    assert found["dataset"] == found["evaluation"]["dataset"] == found["stages"][0]["dataset"] == wanted
    assert found["model_init_kwargs"]["cache_dir"] == "/home/me/c"
    assert found["stages"][0]["settings"]["deepspeed"] == "/home/me/ds.json"
    assert resolved_values(path, {"evaluation.dataset": "~/z.jsonl"})["evaluation"]["dataset"] == "/home/me/z.jsonl"


def test_every_path_field_of_trl_is_among_the_path_keys():
    """TRL and transformers document the fields that may be a path; a new one must be added to `PATH_KEYS`."""
    import dataclasses

    from trl import GRPOConfig

    from tersely.configs.recipe import DERIVED
    from tersely.rl.trl.unused_fields import LEFT_OUT, NEVER_READ, OF_TRLS_LOSSES

    refused = {*DERIVED, *NEVER_READ, *OF_TRLS_LOSSES, *LEFT_OUT}
    named = {
        field.name
        for field in dataclasses.fields(GRPOConfig)
        if field.init and field.name not in refused and "path to a" in str(field.metadata.get("help")).lower()
    }
    assert {"deepspeed", "fsdp_config", "accelerator_config"} <= named <= set(PATH_KEYS)


def test_functions_that_take_a_place_expand_it_too(tmp_path, monkeypatch):
    from tersely.data import load_problems
    from tersely.data.benchmarks import load_benchmark
    from tersely.engines.chat import read_prompting
    from tersely.engines.model_folder import model_location
    from tersely.eval.decoding.spec import parse
    from tersely.eval.run_arrays import find_records, load_runs
    from tersely.eval.seed_runs import split_places

    monkeypatch.setenv("DATA", str(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"problem": "1 + 1", "answer": "2"}\n')
    (tmp_path / "b.yaml").write_text("path: $DATA/a.jsonl\n")
    assert len(load_problems({"path": "$DATA/a.jsonl"}, seed=0)) == 1
    for benchmark in ("$DATA/a.jsonl", "$DATA/b.yaml", {"path": "$DATA/a.jsonl"}):
        assert len(load_benchmark(benchmark)[1]) == 1
    assert model_location("$DATA") == str(tmp_path) and read_prompting("$DATA") is None
    assert split_places("alp=$DATA/1,$DATA/2") == ("alp", [f"{tmp_path}/1", f"{tmp_path}/2"])
    assert parse("seal:vector=$DATA/v.safetensors").strategy.vector == f"{tmp_path}/v.safetensors"
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_runs("$DATA/none")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        find_records(tmp_path / "none")
