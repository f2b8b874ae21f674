"""Every YAML file that the package ships parses; accelerate accepts its own. Methods and recipes have tests beside this."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tersely.configs.load import SLOT_KEYS, list_methods, load_method, read_yaml
from tersely.core.build import SLOTS

CONFIGS = Path(str(files("tersely.configs")))
ALL = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
ACCELERATE = ("single_gpu", "multi_gpu", "zero2", "zero3", "fsdp2")


@pytest.mark.parametrize("name", ALL)
def test_every_file_parses(name):
    assert read_yaml(CONFIGS / name)


@pytest.mark.parametrize("name", list_methods())
def test_a_paper_is_an_arxiv_number_in_quotes(name):
    assert re.fullmatch(r"\d{4}\.\d{4,5}", load_method(name)["paper"])


@pytest.mark.parametrize("name", ACCELERATE)
def test_accelerate_reads_its_files(name):
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(CONFIGS / "accelerate" / f"{name}.yaml"))
    assert config.num_processes == (1 if name == "single_gpu" else 2)
    assert config.mixed_precision is None, "precision is the recipe's"
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
        for key in ("gradient_accumulation_steps", "gradient_clipping"):
            assert config.deepspeed_config[key] == "auto"
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2


def test_the_slots_of_presets_are_those_that_build_knows():
    slots = {key.removesuffix("s") if key == "controllers" else key for key in SLOT_KEYS}
    assert slots - {"aggregate"} == set(SLOTS) - {"sft_loss"}
