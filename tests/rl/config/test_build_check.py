"""Bad values of every key end in one line before a model is loaded."""

from __future__ import annotations

import importlib.util

import pytest

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.check import check_recipe

RECIPE = {"model_name_or_path": "testbed", "prompts_per_step": 4, "group_size": 4, "micro_batch": 4, "max_steps": 50}
NAN, INF, HUGE = float("nan"), float("inf"), 10**30


@pytest.mark.parametrize(
    "changes",
    [
        *({"learning_rate": value} for value in (-1, NAN, INF, "abc", [1], {"a": 1}, None, True, HUGE**20)),
        *({"seed": value} for value in (-1, 2**32, HUGE, 1.5, "one", None)),
        *({"top_p": value} for value in (1.5, 0, -1, NAN)),
        *({"max_completion_length": value} for value in (0, -1, None, HUGE, "many")),
        *({"max_steps": value} for value in (0, -2, NAN, INF, "all", [1], HUGE)),
        *({"warmup_steps": value} for value in (-1, NAN)),
        *({"report_to": value} for value in ("nosuch", ["nosuch"], 3, {"a": 1})),
        *({"optim": value} for value in ("adamw", 3, ["sgd"])),
        {"optim_args": "nonsense"},
        {"optim": "adamw_torch", "optim_args": "no_such=1"},
        {"optim_target_modules": "all"},
        *({"lr_scheduler_kwargs": value} for value in ("min_lr=1", {"nosuch": 1}, [1])),
        {"lr_scheduler_type": "cosine_with_min_lr"},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": "two"}},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {"remove_unused_columns": True},
        *({key: "enable_thinking: false"} for key in ("chat_template_kwargs", "model_init_kwargs")),
        {"model_init_kwargs": {"dtype": "float17"}},
        {"model_init_kwargs": {"attn_implementation": "flash"}},
        {"gradient_checkpointing_kwargs": {"reentrant": True}},
        {"torch_compile": True, "torch_compile_backend": "nosuch"},
        {"liger_kernel_config": {"rope": True}},
        {"fsdp_config": {"min_num_params": 1}},
        {"sync_ref_model": True},
        {"ddp_backend": "carrier-pigeon"},
        {"log_level": "loud"},
        {"debug": "everything"},
        {"accelerator_config": {"nosuch": 1}},
        *(
            {"verifier": value}
            for value in ({"time_out": 10}, {"timeout": "ten"}, {"timeout": NAN}, {"judge": "yes"}, [1])
        ),
        {"dataset": -1},
        {"deadline_seconds": NAN},
        {"group_size": HUGE},
    ],
    ids=repr,
)
def test_a_value_that_cannot_work_is_one_line(changes):
    with pytest.raises(ConfigError) as found:
        check_recipe(Recipe.of({**RECIPE, **changes}), 1)
    text = str(found.value)
    assert "\n" not in text and any(key in text for key in changes)


@pytest.mark.parametrize(
    ("package", "changes"),
    [
        ("tensorboard", {"report_to": "tensorboard"}),
        ("wandb", {"report_to": ["wandb"]}),
        ("bitsandbytes", {"optim": "adamw_8bit"}),
        ("flash_attn", {"model_init_kwargs": {"attn_implementation": "flash_attention_2"}}),
        ("liger_kernel", {"use_liger_kernel": True}),
    ],
)
def test_a_package_that_is_missing_is_found(package, changes):
    if importlib.util.find_spec(package) or (package == "tensorboard" and importlib.util.find_spec("tensorboardX")):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ConfigError) as found:
        check_recipe(Recipe.of({**RECIPE, **changes}), 1)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "cosine", "warmup_steps": 0.1},
        {"optim": "adamw_torch", "learning_rate": "1e-6"},
        {"optim": "adafactor"},
        {"model_init_kwargs": {"dtype": "bfloat16", "attn_implementation": "sdpa"}},
        {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"verifier": {"timeout": "10", "workers": 1}},
        {"seed": 2**32 - 1, "top_p": 0.95, "top_k": 20, "save_strategy": False, "max_grad_norm": 0},
    ],
    ids=repr,
)
def test_what_works_passes(changes):
    check_recipe(Recipe.of({**RECIPE, **changes}), 1)
