"""Wrong configuration fails here, before a model is loaded."""

from __future__ import annotations

import pytest

from tersely.configs.recipe import DERIVED, Recipe
from tersely.core.errors import ConfigError
from tersely.rl.config import checked, grpo_config, objective_of, ratio_is_one
from tersely.rl.update.batch_size import BatchLayout

RECIPE = {"model_name_or_path": "testbed", "prompts_per_step": 4, "group_size": 4, "micro_batch": 4}


def config_of(**changes):
    run = checked(Recipe.of({**RECIPE, **changes}))
    return grpo_config(run, objective_of(run), ranks=1)


def test_the_batch_is_stated_once_and_derived(tmp_path):
    args = config_of(run_dir=str(tmp_path), updates_per_batch=2, save_steps=4)
    assert (args.num_generations, args.per_device_train_batch_size, args.steps_per_generation) == (4, 4, 4)
    assert args.gradient_accumulation_steps == 2 and args.generation_batch_size == 16
    assert args.output_dir == str(tmp_path) and not args.mask_truncated_completions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1e-6}, "recipe key 'learning_rat'.*'learning_rate'"),
        ({"grup_size": 4}, "'group_size'"),
        ({"zzzz": 1}, "lists the keys"),
        ({"learning_rate": "fast"}, "learning_rate.* 'fast'.*a number"),
        ({"max_completion_length": 12.5}, "max_completion_length.* 12.5.*a whole number"),
        ({"max_completion_length": float("inf")}, "max_completion_length.*a whole number"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing.* 1.*true or false"),
        ({"prompts_per_step": "four"}, "recipe: prompts_per_step.* 'four'"),
        ({"engine": "vlm"}, "engine.*'vlm'.*'vllm'"),
        ({"engine": "vllm_server"}, "servers.*none.*addresses with engine: vllm_server"),
        ({"servers": ["http://127.0.0.1:8000"]}, "servers.*8000.*none with engine: transformers"),
        ({"micro_batch": 5}, "micro_batch"),
        ({"group_size": 1}, "group_size"),
        ({"save_total_limit": 1}, "save_total_limit.* 1.*at least 2"),
        ({"updates_per_batch": 2, "save_steps": 3}, "save_steps.* 3.*a multiple of"),
        ({"reward": {"name": "alp", "beta": -1}}, "beta.* -1"),
        ({"aggregate": "tokn"}, "aggregate.* 'tokn'.*'token'"),
    ],
)
def test_what_cannot_run_is_an_error_that_names_the_mend(changes, message):
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)


@pytest.mark.parametrize("key", DERIVED)
def test_a_field_of_trl_that_is_derived_says_where_to_state_it(key):
    with pytest.raises(ConfigError, match=f"{key} .*Set .* instead"):
        checked(Recipe.of({**RECIPE, key: 1}))


def test_trls_own_losses_pass_by_their_flag_and_exclude_a_policy():
    assert config_of(loss_type="luspo").importance_sampling_level == "sequence"
    assert config_of(loss_type="vespo").loss_type == "vespo"
    with pytest.raises(ConfigError, match="loss_type.*loss and aggregate"):
        config_of(loss_type="vespo", loss="clip")
    with pytest.raises(ConfigError, match="loss_type .* instead"):
        config_of(loss_type="dapo")


def test_yaml_numbers_that_are_text_become_numbers():
    args = config_of(learning_rate="1e-6", max_steps=3.0, save_strategy=False)
    assert args.learning_rate == 1e-6 and args.max_steps == 3 and args.save_strategy == "no"


def test_trls_beta_becomes_the_wrapper_and_keeps_the_reference_model():
    run = checked(Recipe.of({**RECIPE, "beta": 0.02, "loss": {"name": "clip", "clip_high": 0.28}}))
    objective = objective_of(run)
    assert objective.loss.beta == 0.02 and objective.loss.base.clip_high == 0.28
    assert grpo_config(run, objective, 1).beta == 0.02


def test_the_schedule_decides_whether_ratios_move():
    run = checked(Recipe.of(RECIPE))
    assert ratio_is_one(BatchLayout.of(run, 1), 1) and not ratio_is_one(BatchLayout.of(run, 1), 2)


def test_the_temperature_of_the_sampling_is_the_trainers():
    assert config_of(sampling={"name": "fixed", "temperature": 0.6}).temperature == 0.6
    assert config_of().temperature == 1.0


def test_checkpointing_by_either_name_is_one_setting():
    from tersely.engines.activation_checkpointing import by_installed_names

    for installed in ({"gradient_checkpointing"}, {"gradient_checkpointing", "activation_checkpointing"}):
        (name,) = by_installed_names({"gradient_checkpointing": False}, installed)
        assert name == max(installed, key=lambda one: one == "activation_checkpointing")
        assert by_installed_names({"activation_checkpointing": False}, installed) == {name: False}
        with pytest.raises(ConfigError, match="same setting"):
            by_installed_names({"gradient_checkpointing": False, "activation_checkpointing": True}, installed)
