"""Checks the prompts of a run before the model is loaded: chat template and lengths; renders one example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tersely.configs.dataset import SourceSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.core.findings import Finding
from tersely.data.load_report import DataCard, DataError
from tersely.engines.chat import Prompting, after_instruction, all_prompt_ids, variable_warnings, with_instruction
from tersely.engines.model_checks import check_template, check_vocabulary, model_config
from tersely.rl.config.budget_check import check_marker, largest_written
from tersely.rl.config.teacher_check import instructions, longest_instruction
from tersely.rl.rollouts.token_fields import step_ends
from tersely.rl.trained_prompting import trained_prompting

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig

    from tersely.algorithms.objective import Objective

AT_ONCE = 1024


def check_prompts(
    card: DataCard,
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    run: Recipe,
    objective: Objective,
    args: GRPOConfig,
    tell: Callable[[Finding], None] | None = None,
) -> None:
    """Measure every prompt, record the longest and the first in the load report, and check that they leave room.

    Warnings go to `tell`.
    Raises `ConfigError` for an unusable chat template, and for prompts that are too long with the cap.
    """
    prompting = trained_prompting(run, args, objective.prompting)
    check_template(tokenizer, prompting.chat_template_kwargs, prompting.system_prompt)
    if tell is not None:
        for finding in variable_warnings(tokenizer, prompting.chat_template_kwargs):
            tell(finding)
        if "step" in objective.needs and not bool(step_ends(tokenizer).any()):
            text = "no token of the vocabulary has a blank line, so every completion is one step"
            tell(Finding("warn", "tokenizer", text, "use another method"))
    lengths = prompt_lengths(tokenizer, dataset, prompting)
    card.longest_prompt, card.prompt = max(lengths), prompting.text(tokenizer, dataset[0]["prompt"])
    config = model_config(run.model_name_or_path, args.trust_remote_code)
    check_vocabulary(run.model_name_or_path, tokenizer, config)
    check_marker(run, objective, tokenizer)
    written = largest_written(run, objective, tokenizer) + longest_instruction(objective, tokenizer)
    refuse_long([length + written for length in lengths], dataset, args, config)


def prompt_lengths(tokenizer: PreTrainedTokenizerBase, dataset: Any, prompting: Prompting) -> list[int]:
    """Tokens of every prompt of a dataset, including the template and the fixed parts of the prompting."""
    extra = len(tokenizer.encode(prompting.prefill, add_special_tokens=False)) if prompting.prefill else 0
    lengths: list[int] = []
    for start in range(0, len(dataset), AT_ONCE):
        chats = dataset[start : start + AT_ONCE]["prompt"]
        chats = [with_instruction(chat, prompting.prompting_instruction) for chat in chats]
        ids = all_prompt_ids(tokenizer, chats, prompting.chat_template_kwargs)
        lengths += [len(one) + extra for one in ids]
    return lengths


def rooms(args: GRPOConfig, config: Any) -> dict[str, int]:
    """Limits of prompt plus answer, tokens."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    found = {"the model's context": context, "vllm_max_model_length": getattr(args, "vllm_max_model_length", None)}
    return {name: room for name, room in found.items() if room is not None}


def refuse_long(lengths: list[int], dataset: Any, args: GRPOConfig, config: Any) -> None:
    """Raise `ConfigError` if a prompt plus the cap exceeds the context of the model or of vLLM."""
    cap = args.max_completion_length
    for name, room in rooms(args, config).items():
        long = [index for index, length in enumerate(lengths) if length + cap > room]
        if long:
            worst = max(long, key=lambda index: lengths[index])
            fit = [len(dataset[i]["problem"]) for i, length in enumerate(lengths) if length + cap <= room]
            fixes = [f"max_completion_length of at most {room - lengths[worst]}"] if room > lengths[worst] else []
            if fit:
                fixes.append(
                    f"a filter on the problem's column such as {{problem: {{max_characters: {min(max(fit), 10**6)}}}}}"
                )
            raise ConfigError(
                f"dataset: {len(long)} of {len(lengths)} prompts are too long. The longest has {lengths[worst]} tokens; with "
                f"max_completion_length {cap} it exceeds {name} of {room}. It begins "
                f"{dataset[worst]['problem'][:60]!r}. Fix: {' or '.join(fixes) or 'shorter problems or another model'}"
            )


def example_prompt(run: Recipe, objective: Objective, args: GRPOConfig, tokens: bool = False) -> str:
    """One rendered prompt for a dry run: the first problem of a local source, `{problem}` for a hub source."""
    from tersely.data.load import chat, own_instruction
    from tersely.engines.models import load_tokenizer, model_place

    place = model_place(run.model_name_or_path)
    if place.level == "fail" and place.subject != "hub":
        raise ConfigError(f"model_name_or_path: {place.text}")
    if place.level != "ok":
        return f"prompt: not shown, {place.text}"
    tokenizer = load_tokenizer(run.model_name_or_path, args.trust_remote_code)
    prompting = trained_prompting(run, args, objective.prompting)
    check_template(tokenizer, prompting.chat_template_kwargs, prompting.system_prompt)
    source = run.dataset[0]
    sentence = own_instruction(source) if run.instruction is None else run.instruction
    messages = chat(first_problem(source, args.seed), sentence, run.system_prompt)
    ids = prompting.ids(tokenizer, messages)
    longest = len(ids) + longest_instruction(objective, tokenizer)
    for name, room in rooms(args, model_config(run.model_name_or_path, args.trust_remote_code)).items():
        if longest + args.max_completion_length > room:
            raise ConfigError(
                f"max_completion_length: got {args.max_completion_length}; with a prompt of {longest} tokens it exceeds "
                f"{name} of {room}. Use at most {room - longest}"
            )
    lines = [f"prompt ({len(ids)} tokens, first problem of {source.label}):", prompting.text(tokenizer, messages)]
    if tokens:
        lines.append(f"as tokens: {ids}")
    for instruction in instructions(objective):
        own = after_instruction(messages, instruction)
        size = len(prompting.ids(tokenizer, own))
        lines += [f"prompt of the teacher ({size} tokens):", prompting.text(tokenizer, own)]
    return "\n".join(lines)


def check_first_rows(run: Recipe, seed: int) -> None:
    """Read one row of every local source, including the evaluation's. Raises `DataError` if none is usable."""
    for source in (*run.dataset, *(run.evaluation.dataset if run.evaluation is not None else ())):
        first_problem(source, seed)


def first_problem(source: SourceSpec, seed: int) -> str:
    """The first usable problem of a procedural or local source; `{problem}` for a source that needs a download.

    Raises `DataError` for a local source without one.
    """
    from tersely.data.rows import Reader
    from tersely.data.sources import read_rows

    if not source.procedural and not source.local:
        return "{problem}"
    reader = Reader(source)
    for index, row in enumerate(read_rows(replace(source, limit=1) if source.procedural else source, seed)):
        try:
            return reader.read(row, f"dataset {source.label}, row {index}")[0]
        except DataError:
            raise
        except ValueError:
            continue
    raise DataError(f"dataset {source.label}: got no usable row; expected at least one. Check file and split")
