"""What accelerate's own command builder launches for each shipped configuration, on one node and on two."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tersely.configs.recipe import Recipe
from tersely.launch import local
from tersely.launch.cli.launch_slurm import parser
from tersely.launch.preflight import doctor
from tersely.launch.ranks import Devices
from tersely.launch.slurm import ACCELERATE, render

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

SHIPPED = sorted(path.stem for path in Path(str(files("tersely.configs") / "accelerate")).glob("*.yaml"))
OLDER = [str(version) for version in doctor.tested()["accelerate"]["contracts"]]
CHOSEN = OLDER if os.environ.get("TERSELY_CONTRACTS") == "all" else OLDER[:1]
OTHER = "TERSELY_OTHER_ACCELERATE"

RECIPE = {"model_name_or_path": "testbed", "dataset": "testbed", "run_dir": "/scratch/run", "prompts_per_step": 8}


def words_of(nodes: int, configuration: str) -> tuple[list[str], str]:
    """The accelerate command of a rendered job, as the first node's bash would make it, and the configuration's text."""
    options = f"--nodes {nodes} --gpus-per-node 4 --accelerate {configuration}"
    made = render(Recipe.of(RECIPE), parser().parse_args(["r.yaml", *options.split()]))
    line = made["train.sbatch"].split("accelerate.commands.launch ")[1].split("'")[0].replace("\\\n", " ")
    for name, value in {'"$SLURM_NODEID"': "0", '"$MASTER_ADDR"': "10.0.0.1", '"$MASTER_PORT"': "29411",
                        '"$TERSELY_RECIPE"': "recipe.yaml"}.items():  # fmt: skip
        line = line.replace(name, value)
    return shlex.split(line), made["accelerate.yaml"]


class Launched(Exception):
    pass


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """`launched(words) -> (torchrun's arguments, its environment)`: accelerate up to the start of the processes."""
    import torch.distributed.run
    from accelerate.commands import launch
    from accelerate.utils import launch as builder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.setattr(builder, "is_port_in_use", lambda port: False)

    def make(words: list[str]):
        found = {}

        def started(arguments):
            found.update(vars(arguments), environment=dict(os.environ))
            raise Launched

        def elsewhere(command, *_, **__):
            raise AssertionError(f"accelerate starts another launcher: {command}")

        monkeypatch.setattr(torch.distributed.run, "run", started)
        monkeypatch.setattr(subprocess, "Popen", elsewhere)
        with pytest.raises(Launched):
            launch.launch_command(launch.launch_command_parser().parse_args(words))
        assert not list(tmp_path.rglob(".deepspeed_env")), "the environment, keys included, lies in a file"
        return found

    return make


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("configuration", ACCELERATE)
def test_each_node_starts_its_own_ranks_of_one_group(launched, tmp_path, configuration, nodes):
    if configuration.startswith("zero"):
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    words, text = words_of(nodes, configuration)
    (tmp_path / "accelerate.yaml").write_text(text)
    found = launched([str(tmp_path / "accelerate.yaml") if word == "$0" else word for word in words])
    assert int(found["nproc_per_node"]) == 4
    if nodes > 1:
        assert (int(found["nnodes"]), int(found["node_rank"])) == (2, 0)
        assert found["rdzv_endpoint"] == "10.0.0.1:29411" and found["rdzv_backend"] == "static"
    environment = found["environment"]
    assert (environment.get("ACCELERATE_USE_DEEPSPEED") == "true") == configuration.startswith("zero")
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == (configuration == "fsdp2")


def test_every_shipped_configuration_of_several_ranks_can_run_on_several_nodes():
    assert sorted([*ACCELERATE, "single_gpu"]) == SHIPPED


@pytest.mark.parametrize("configuration", SHIPPED)
def test_this_machines_ranks_start_with_every_shipped_configuration(launched, configuration):
    """`tersely launch local --accelerate-config`. A single process gets no rendezvous."""
    if configuration.startswith("zero"):
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    ranks = 1 if configuration == "single_gpu" else 4
    options = SimpleNamespace(accelerate_config=configuration, retries=0, grace=0, recipe="recipe.yaml")
    training = [str(number) for number in range(ranks)]
    words = local.training_command(options, ["--seed", "1"], Devices(ranks, 0, training, []))
    assert words[1:3] == ["-m", "accelerate.commands.launch"]
    if ranks == 1:
        from accelerate.commands import launch

        parsed = launch.launch_command_parser().parse_args(words[3:])
        parsed, *_ = launch._validate_launch_command(parsed)
        assert parsed.num_processes == 1 and not parsed.multi_gpu
        return
    found = launched(words[3:])
    assert int(found["nproc_per_node"]) == ranks and str(found["nnodes"]) in ("1", "1:1")
    assert found["module"] and found["training_script"] == "tersely.launch.train"
    assert found["training_script_args"] == ["--config", "recipe.yaml", "--seed", "1"]


@pytest.mark.parametrize("stated", [{}, {"deepspeed_multinode_launcher": "standard"}])
def test_a_users_own_file_needs_no_launcher_key(launched, tmp_path, stated):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    own = yaml.safe_load((files("tersely.configs") / "accelerate" / "zero3.yaml").read_text())
    own["deepspeed_config"].pop("deepspeed_multinode_launcher")
    own["deepspeed_config"] |= stated
    Path("own.yaml").write_text(yaml.safe_dump({**own, "gpu_ids": "0,1"}))
    # what an earlier start has left is neither read nor written
    words, text = words_of(2, "own.yaml")
    (tmp_path / "accelerate.yaml").write_text(text)
    found = launched([str(tmp_path / "accelerate.yaml") if word == "$0" else word for word in words])
    assert int(found["nproc_per_node"]) == 4 and int(found["nnodes"]) == 2
    assert found["environment"].get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize("configuration", ["zero2", "zero3"])
def test_without_the_key_accelerate_would_take_another_launcher(configuration):
    """The reason for the key: where this fails, accelerate's default has changed and the key may go."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    from accelerate.commands import launch
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    words, _ = words_of(2, configuration)
    values = yaml.safe_load((files("tersely.configs") / "accelerate" / f"{configuration}.yaml").read_text())
    assert values["deepspeed_config"]["deepspeed_multinode_launcher"] == "standard"
    arguments = launch.launch_command_parser().parse_args(["--use_deepspeed", *words[2:]])
    arguments.deepspeed_multinode_launcher, arguments.deepspeed_fields_from_accelerate_config = None, ""
    command, _ = prepare_deepspeed_cmd_env(arguments)
    assert command[0] == "deepspeed"


def test_the_release_is_the_one_that_was_asked_for():
    import accelerate

    assert accelerate.__version__ == os.environ.get(OTHER, accelerate.__version__)


@pytest.mark.slow
@pytest.mark.skipif(OTHER in os.environ, reason="runs the tests of this file")
@pytest.mark.parametrize("version", CHOSEN)
def test_the_same_with_an_older_release(version, tmp_path):
    """The tests of this file in a process with the Python files of that release first on the path."""
    try:
        tree = sources.python_files("accelerate", version)
    except sources.NoSources as error:
        reason = f"the sources of accelerate {version} are out of reach: {error}"
        pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    path = os.pathsep.join([str(tree), str(FOLDER.parents[1])])
    words = [
        sys.executable,
        "-m",
        "pytest",
        __file__,
        "-q",
        "-rf",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path}/t",
    ]
    environment = {**os.environ, "PYTHONPATH": path, OTHER: version}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=550, cwd=FOLDER.parents[1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
