"""Every shipped recipe is meant: keys, slots, data and batch arithmetic, without loading a model."""

import pytest

from tersely.components import build
from tersely.configs.load import list_recipes, load_recipe
from tersely.rl.config import grpo_config, split_recipe
from tersely.rl.data import parse_sources

RECIPES = list_recipes()


def test_the_recipes_are_there():
    gpu = {
        f"{model}/{m}"
        for model in ("deepseek-r1-distill-qwen-1.5b", "deepscaler-1.5b-preview")
        for m in ("alp", "grpo")
    }
    assert {"smollm2-135m/alp_cpu", "testbed/grpo", "testbed/alp", "testbed/dler", *gpu} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resolves(name):
    run, trl_values = split_recipe(load_recipe(name))
    objective = run.objective()
    args = grpo_config(run, trl_values, objective, ranks=1)
    assert args.max_steps > 0 and args.num_generations == run.group_size
    assert parse_sources(run.dataset)
    batch = run.batch_plan(8 if run.engine == "vllm" else 1)
    assert batch.accumulation * batch.micro_batch * batch.updates_per_batch * batch.ranks == batch.rows
    assert run.run_dir.startswith("runs/")


@pytest.mark.parametrize("model", ["deepseek-r1-distill-qwen-1.5b", "deepscaler-1.5b-preview", "testbed"])
def test_the_baseline_differs_in_its_slots_alone(model):
    alp, grpo = (load_recipe(f"{model}/{method}") for method in ("alp", "grpo"))
    slots = {"method", "reward", "advantage", "policy", "filter", "aggregate", "run_dir"}
    assert {key for key in alp.keys() | grpo.keys() if alp.get(key) != grpo.get(key)} <= slots
    assert build("reward", grpo["reward"]) and alp["reward"] != grpo["reward"]


@pytest.mark.parametrize("name", [name for name in RECIPES if load_recipe(name).get("engine") == "vllm"])
def test_a_sequence_fits_the_engine(name):
    recipe = load_recipe(name)
    assert recipe["vllm_max_model_length"] >= recipe["max_completion_length"] + 1024, "room for the prompt"
