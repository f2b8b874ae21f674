"""Every shipped recipe is meant: keys, slots, data and batch arithmetic, without loading a model."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import tersely
from tersely.configs.load import list_recipes, load_recipe
from tersely.core.build import build
from tersely.data import parse_sources
from tersely.launch.preflight import time_estimate as planning
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.model import memory_findings
from tersely.launch.preflight.outline import hours_of
from tersely.rl.config import checked, grpo_config, objective_of
from tersely.rl.update.batch_size import BatchLayout

RECIPES = list_recipes()
LORA = "deepseek-r1-distill-qwen-1.5b/alp_lora_24gb"
GPU = [name for name in RECIPES if load_recipe(name).engine == "vllm"]


def test_the_recipes_are_there():
    gpu = {
        f"{model}/{m}"
        for model in ("deepseek-r1-distill-qwen-1.5b", "deepscaler-1.5b-preview")
        for m in ("alp", "grpo")
    }
    gpu |= {"qwen3-0.6b/alp_24gb", "deepseek-r1-distill-qwen-7b/alp", LORA}
    assert {"smollm2-135m/alp_cpu", "testbed/grpo", "testbed/alp", "testbed/dler", *gpu} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resolves(name):
    run = checked(load_recipe(name))
    objective = objective_of(run)
    args = grpo_config(run, objective, ranks=1)
    assert args.max_steps > 0 and args.num_generations == run.group_size
    assert parse_sources(run.dataset)
    batch = BatchLayout.of(run, 8 if run.engine == "vllm" and "24gb" not in name else 1)
    assert batch.accumulation * batch.micro_batch * batch.updates_per_batch * batch.ranks == batch.rows
    assert run.run_dir.startswith("runs/")


@pytest.mark.parametrize("model", ["deepseek-r1-distill-qwen-1.5b", "deepscaler-1.5b-preview", "testbed"])
def test_the_baseline_differs_in_its_slots_alone(model):
    alp, grpo = (load_recipe(f"{model}/{method}").to_dict() for method in ("alp", "grpo"))
    slots = {"method", "reward", "advantage", "loss", "filter", "aggregate", "run_dir"}
    assert {key for key in alp.keys() | grpo.keys() if alp.get(key) != grpo.get(key)} <= slots
    assert build("reward", grpo["reward"]) and alp["reward"] != grpo["reward"]


@pytest.mark.parametrize("name", RECIPES)
def test_no_shipped_recipe_warns_of_its_schedule(name):
    from tersely.rl.check import check_stage
    from tersely.rl.config import checked

    found = [finding for stage in checked(load_recipe(name)).stages for finding in check_stage(stage).findings]
    assert not [one for one in found if one.subject in ("updates_per_batch", "warmup_steps")]


SHAPES = {
    "1.5b": Shape(1_777_088_000, 28, 1536, 8960, 12, 2, 128, 151936),
    "7b": Shape(7_615_616_512, 28, 3584, 18944, 28, 4, 128, 152064),
    "0.6b": Shape(596_049_920, 28, 1024, 3072, 16, 8, 128, 151936),
}
"""Of Qwen2.5-1.5B and 7B, whose architecture the R1 distillations have, and of Qwen3-0.6B."""


@pytest.mark.parametrize("name", GPU)
def test_a_gpu_recipe_fits_the_hardware_that_its_header_names(name):
    """The command in the header, with the model's shape in place of a download."""
    text = (Path(tersely.__file__).parent / "configs" / "recipes" / f"{name}.yaml").read_text()
    command = re.search(rf"#   tersely train {name} --dry-run --gpus (\d+) --gpu-memory (\d+)\n", text)
    options = SimpleNamespace(gpus=int(command[1]), gpu_memory=float(command[2]))
    recipe = load_recipe(name)
    there = planning.target(options, recipe)
    run = checked(recipe)
    args = grpo_config(run, objective_of(run), ranks=there.gpus)
    shape = next(shape for size, shape in SHAPES.items() if size in run.model_name_or_path.lower())
    shape = replace(shape, adapter=28 * 32 * 41216) if name == LORA else shape  # the sum of in + out of its layers
    assert bool(shape.adapter) == bool(run.peft)
    how = "zero2" if there.gpus > 1 else "none"
    length = args.vllm_max_model_length
    found = [*memory_findings(shape, run, args, length, how, there)]
    assert [finding.level for finding in found] == ["ok", "ok"], found
    assert run.updates_per_batch in (2, 3, 4) and 8 <= run.group_size <= 16 and args.vllm_enable_sleep_mode
    assert args.lr_scheduler_type == "constant_with_warmup" and args.warmup_steps > 0
    work = planning.Workload.of(run, args, there, args.max_completion_length / 2, 200)
    for gpu, hours in hours_of(run, args, shape, work, there).items():
        stated = re.search(rf"(?:{gpu} \(about (\d+) hours\)|[Aa]bout (\d+) hours on {gpu}|, (\d+) on {gpu})", text)
        assert stated, f"the header has no hours for {gpu}"
        assert abs(float(next(filter(None, stated.groups()))) / hours - 1) < 0.15


@pytest.mark.parametrize("name", GPU)
def test_a_sequence_fits_the_engine(name):
    values = load_recipe(name).trl
    assert values["vllm_max_model_length"] >= values["max_completion_length"] + 1024, "room for the prompt"
