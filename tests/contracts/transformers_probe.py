"""What one version of transformers makes of our code, as JSON. Run with that version's Python files first on the path.

All of it is our own code on the embedded model: configurations, tokenizer, sampling, checkpointing, a cold start, training,
a checkpoint and its resumption.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from tersely.configs.recipe import Recipe

ROOT = Path(__file__).parents[2]
SMALL = {"prompts_per_step": 2, "group_size": 2, "micro_batch": 2, "max_completion_length": 96, "warmup_steps": 0}


def main() -> dict[str, Any]:
    import transformers
    from our_imports import missing_imports

    found = {
        "version": transformers.__version__,
        "imports": missing_imports("transformers"),
        "checkpointing": checkpointing(),
        "recipes": recipes(),
        "arguments": arguments(),
        "methods": methods(),
        "text": text(),
        "sampled": sampled(),
        "attention": attention(),
        "integrations": integrations(),
    }
    return found | {"training": training()}


def checkpointing() -> dict[str, Any]:
    """Either name of activation checkpointing, on and off; and warnings that it is the old one."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from tersely.engines import activation_checkpointing as checkpointing
    from tersely.rl.config import checked, grpo_config, objective_of

    tiny = Qwen2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    state: dict[str, bool] = {}
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for name in ("gradient_checkpointing", "activation_checkpointing"):
            for wanted in (True, False):
                run = checked(Recipe.of({"model_name_or_path": "testbed", name: wanted, "max_steps": 1}))
                args = grpo_config(run, objective_of(run), 1)
                model = Qwen2ForCausalLM(tiny)
                if checkpointing.setting(args, "gradient_checkpointing"):
                    checkpointing.enable(model, args)
                renamed = hasattr(type(model), "is_activation_checkpointing")
                is_on = model.is_activation_checkpointing if renamed else model.is_gradient_checkpointing
                state[f"{name} {wanted}"] = is_on
    old = [str(one.message) for one in shown if "activation_checkpointing" in str(one.message)]
    return {"state": state, "deprecated": old}


def recipes() -> dict[str, str]:
    """Shipped recipes that this version refuses, with the reason: configuration, optimizer, schedule, model arguments."""
    from tersely.configs.load import list_recipes, load_recipe
    from tersely.core.errors import ConfigError
    from tersely.rl.config import checked, grpo_config, objective_of
    from tersely.rl.config.build_check import check_build

    found = {}
    for name in list_recipes():
        try:
            run = checked(load_recipe(name, {"bf16": False}))
            with mock.patch("tersely.rewards.verify.build.make_verifier"):  # starts processes; nothing of transformers
                check_build(run, grpo_config(run, objective_of(run), 1))
        except ConfigError as error:
            found[name] = str(error)
    return found


def arguments() -> list[str]:
    """Fields of training arguments that our sources read (`args.name`) and that this version has."""
    from tersely.rl.config import RunArguments

    names: set[str] = set()
    for path in (ROOT / "tersely").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("args", "self.args", "trainer.args"):
                names.add(node.attr)
    return sorted(name for name in names if hasattr(RunArguments, name) or name in RunArguments.__dataclass_fields__)


def methods() -> dict[str, list[str]]:
    """Methods of transformers' trainer that our trainers override or call -> their parameters."""
    from transformers import Trainer

    from tersely.rl.trl import contract as trl_contract

    names: set[str] = set()
    for path in (ROOT / "tersely").rglob("*.py"):
        names |= trl_contract.trainer_names(ast.parse(path.read_text()))
    return {
        name: list(inspect.signature(getattr(Trainer, name)).parameters)
        for name in sorted(names)
        if callable(getattr(Trainer, name, None))
    }


def text() -> dict[str, Any]:
    """The embedded tokenizer's rendering of a chat, and back."""
    from tersely.engines.models import load_tokenizer

    tokenizer = load_tokenizer("testbed")
    chat = [{"role": "user", "content": "3 + 4 - 2 = ?"}]
    made = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, enable_thinking=True)
    ids = list(made["input_ids"])
    padded = tokenizer.pad({"input_ids": [ids, ids[:2]]}, return_tensors="pt")["attention_mask"].sum(1).tolist()
    return {"ids": ids, "back": tokenizer.decode(ids), "padded": padded, "side": tokenizer.padding_side}


def sampled() -> dict[str, Any]:
    """Tokens of our engine with all warpers, and the recommended sampling of a generation config."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    from tersely.engines.base import GenerationRequest
    from tersely.engines.model_folder import model_location
    from tersely.engines.models import load_tokenizer
    from tersely.engines.transformers import TransformersEngine
    from tersely.eval.engines import maker_sampling

    model = AutoModelForCausalLM.from_pretrained(model_location("testbed"), dtype="float32")
    asked = [GenerationRequest(tuple(text()["ids"]), seed, 12 + seed, logprobs=True) for seed in range(4)]
    engine = TransformersEngine(model, load_tokenizer("testbed"))
    drawn = engine.generate(asked, temperature=0.9, top_p=0.9, top_k=20)
    recommended = maker_sampling(GenerationConfig(do_sample=True, temperature=0.6, top_p=0.95, top_k=20))
    return {"tokens": [one.token_ids for one in drawn], "recommended": recommended}


def attention() -> dict[str, Any]:
    """The name that we choose where FlashAttention is installed, and whether this version has it."""
    import torch
    import transformers.utils
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    from tersely.engines.model_folder import model_location
    from tersely.engines.models import attention

    with (
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(transformers.utils, "is_flash_attn_2_available", lambda: True),
    ):
        chosen = [attention(model_location("testbed"), dtype) for dtype in ("bfloat16", "float32")]
    known = {"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()}
    return {"chosen": chosen, "known": sorted({"flash_attention_2", "sdpa", "eager"} & known)}


def integrations() -> dict[str, bool]:
    """Names by which transformers, accelerate and DeepSpeed find what we set."""
    import transformers
    from transformers.integrations import deepspeed

    from tersely.engines.models import FIRST_RANK_LOADS

    folder = Path(transformers.__file__).parent
    files = [*(folder / "distributed").glob("*.py"), *(folder / "integrations").glob("*.py")]  # moved in 5.17
    arguments = (folder / "training_args.py").read_text()
    return {
        "first rank loads": any(FIRST_RANK_LOADS in path.read_text() for path in files),
        "unset": callable(deepspeed.unset_hf_deepspeed_config) and callable(deepspeed.set_hf_deepspeed_config),
        "plugin": "self.deepspeed_plugin" in arguments and "self.hf_deepspeed_config" in arguments,
        "load": "load_module_strict" in inspect.signature(deepspeed.deepspeed_load_checkpoint).parameters,
    }


def training() -> dict[str, Any]:
    """A cold start and a step after it; a run with checkpoints, and one more step from the last of them."""
    from tersely.configs.load import load_recipe
    from tersely.rl.run import train

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        changes = {**SMALL, "save_steps": 1, "report_to": "none"}
        staged = load_recipe("testbed/selfbudgeter", {**changes, "run_dir": f"{folder}/staged", "max_steps": 1})
        values = staged.to_dict()
        values["dataset"] |= {"limit": 64}
        values["stages"][0] |= {"steps": 1, "prompts": 32, "samples": 1, "batch_size": 4}
        train(Recipe.of(values), resume=False)
        plain = load_recipe("testbed/alp", {**changes, "run_dir": f"{folder}/plain", "max_steps": 2})
        train(plain, resume=False)
        train(plain.replaced(max_steps=3), resume=True)
        for name in ("staged", "plain"):
            rows = [json.loads(line) for line in Path(folder, name, "metrics.jsonl").read_text().splitlines()]
            losses = [row["loss"] for row in rows if "loss" in row]
            found[name] = len(losses) if all(isinstance(loss, float) for loss in losses) else losses
            found[f"{name} final"] = Path(folder, name, "final", "config.json").is_file()
    return found


if __name__ == "__main__":
    sys.stdout.flush()
    print("FOUND " + json.dumps(main()), flush=True)
