"""What accelerate's own command builder launches for each shipped configuration, on one node and on two."""

from __future__ import annotations

import os
import shlex
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tersely.launch.slurm import ACCELERATE, parser, render

RECIPE = {"model_name_or_path": "testbed", "dataset": "testbed", "run_dir": "/scratch/run", "prompts_per_step": 8}


def words_of(nodes: int, configuration: str) -> tuple[list[str], str]:
    """The accelerate command of a rendered job, as the first node's bash would make it, and the configuration's text."""
    options = f"--nodes {nodes} --gpus-per-node 4 --accelerate {configuration}"
    made = render(RECIPE, parser().parse_args(["r.yaml", *options.split()]))
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
    import subprocess

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
