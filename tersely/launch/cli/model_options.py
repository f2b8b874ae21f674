"""Options of commands that sample a model: its prompts and its engine."""

from __future__ import annotations

import argparse
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import place_option
from tersely.engines.registry import DEFAULT
from tersely.eval.trained_prompt import chosen_prompting, prompt_line
from tersely.launch.cli.parser import Parser, number, whole


def add_prompt_options(p: Parser) -> None:
    p.add_argument("--instruction", help="instruction appended to every problem (default: the data's); '' for none")
    p.add_argument("--system-prompt", help="system message of every chat (default: as trained); '' for none")
    p.add_argument(
        "--chat-template-kwargs",
        metavar="YAML",
        help="chat template variables, for example '{enable_thinking: false}' (default: as trained)",
    )
    p.add_argument(
        "--prompting",
        type=place_option,
        metavar="FOLDER",
        help="use the prompts that this model was trained with (default: those of MODEL, if it has a prompting.json); "
        "`none`: the data's prompt",
    )


def add_engine_options(p: Parser) -> None:
    p.add_argument("--engine", default=DEFAULT, help="transformers, vllm, or a server address such as http://host:8000")
    p.add_argument("--tokenizer", type=place_option, help="tokenizer to use instead of the model's")
    p.add_argument("--batch-size", type=whole(1), help="samples per batch")
    p.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="dtype of the transformers engine")
    p.add_argument(
        "--max-model-len",
        type=whole(2),
        help="maximum sequence length of the vllm engine in tokens (default: longest prompt plus --max-new-tokens)",
    )
    p.add_argument(
        "--gpu-memory-utilization",
        type=number(above=0, at_most=1),
        default=0.9,
        help="fraction of GPU memory for the vllm engine (default: %(default)s)",
    )


def prompting_of(options: argparse.Namespace) -> Any:
    """The prompting of this evaluation. Prints one line when it differs from the benchmark's."""
    import yaml

    from tersely.engines.model_folder import model_location
    from tersely.rl.config.sections import check_template_kwargs

    kwargs = options.chat_template_kwargs
    if kwargs is not None:
        try:
            kwargs = yaml.safe_load(kwargs)
        except yaml.YAMLError:
            kwargs = ""
        if not isinstance(kwargs, dict):
            raise ConfigError(
                f"--chat-template-kwargs: got {options.chat_template_kwargs!r}; expected a mapping such as "
                "'{enable_thinking: false}', or '{}' for none"
            )
        check_template_kwargs(kwargs)
    found, where = chosen_prompting(model_location(options.model), options.tokenizer, options.prompting, kwargs)
    given = {key: getattr(options, key) for key in ("instruction", "system_prompt", "chat_template_kwargs")}
    if line := prompt_line(found, where, given):
        print(line, flush=True)
    return found
