"""Checks a model and the prompts before weights are loaded: shape, tokenizer, lengths, memory, disk."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tersely.configs.peft import PeftSpec
from tersely.configs.recipe import Recipe
from tersely.core.findings import Finding
from tersely.engines.activation_checkpointing import setting
from tersely.engines.adapter import trained_parameters
from tersely.engines.registry import capabilities_of
from tersely.launch.preflight.cold_estimate import ColdEstimate
from tersely.launch.preflight.memory_estimate import SHARDING, Load, Shape, checkpoint_bytes, estimate
from tersely.launch.preflight.time_estimate import VLLM_FIXED, Target, cache_per_token
from tersely.rl.update.batch_size import BatchLayout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig

GIB = 1 << 30
ROOM = 0.92
"""Share of a GPU that the estimate may use; the rest is for fragmentation and buffers."""


def shape_of(config: Any, peft: PeftSpec | None = None) -> Shape:
    """Shape from a transformers config, with the size of an adapter. Counts parameters on the meta device, without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    heads = text.num_attention_heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
        adapter=trained_parameters(model, peft) if peft else 0,
    )


def sharding() -> str:
    """Sharding of this launch, from accelerate's environment; `none` outside a launch."""
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and stage:
        return f"zero{stage}" if f"zero{stage}" in SHARDING else "none"
    return "fsdp2" if os.environ.get("ACCELERATE_USE_FSDP") == "true" else "none"


def tokenizer_findings(tokenizer: PreTrainedTokenizerBase, template: Any) -> Iterator[Finding]:
    """Check chat template, pad token and EOS token."""
    tail = template.tail.strip()
    if template.opens_thinking:
        text = f"the template opens <think> (it ends with {tail!r}), so a completion starts inside the thinking"
        yield Finding("note", "template", text)
    else:
        yield Finding("ok", "template", f"the assistant's turn begins with {tail!r}")
    pad, end = tokenizer.pad_token, tokenizer.eos_token
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        fix = "set pad_token to an unused special token and save the tokenizer"
        yield Finding("warn", "tokens", f"pad and EOS token are the same ({end!r}), so padding looks like an end", fix)
    else:
        yield Finding("ok", "tokens", f"pad {pad!r}, EOS {end!r}")


def length_findings(longest: int, args: GRPOConfig, config: Any) -> Iterator[Finding]:
    """Check that the longest prompt (tokens) plus the cap fits the context of the model and of vLLM."""
    cap = args.max_completion_length
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    text = f"prompts up to {longest} tokens, cap {cap}"
    for name, room in (("the model's context", context), ("vllm_max_model_length", args.vllm_max_model_length)):
        if room is not None and longest + cap > room:
            fix = f"set max_completion_length to at most {max(0, room - longest)}, or filter out long problems"
            yield Finding("fail", "lengths", f"{text}: more than {name} of {room}", fix)
            return
    yield Finding("ok", "lengths", f"{text}, context {context}")


def memory_findings(
    shape: Shape, run: Recipe, args: GRPOConfig, tokens: int, how: str, there: Target, cold: ColdEstimate | None = None
) -> Iterator[Finding]:
    """Compare the memory estimate with the GPU, if there is one. `tokens`: longest prompt plus cap.

    cold: a supervised stage, whose engine is closed before training.
    """
    from tersely.algorithms.objective import teachers_of
    from tersely.rl.config import objective_of

    vllm = (
        int((args.vllm_gpu_memory_utilization or 0) * (there.memory or 0))
        if capabilities_of(run.engine).own_copy
        else 0
    )
    plan = BatchLayout.of(run, there.gpus)
    load = Load(
        micro_rows=cold.micro_rows if cold else plan.micro_batch,
        rows=math.ceil(plan.rows_per_rank * run.max_oversampling),
        tokens=tokens,
        half=there.half,
        checkpointing=cold.checkpointing if cold else bool(setting(args, "gradient_checkpointing")),
        sharding=how,
        ranks=there.gpus,
        reference=bool(args.beta) and not cold,
        teachers=0 if cold else len({one.model for one in teachers_of(objective_of(run)) if one.model}),
        vllm_bytes=vllm,
        vllm_sleeps=bool(args.vllm_enable_sleep_mode) or bool(cold),
    )
    found = estimate(shape, load)
    peak = found.pop("peak")
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in found.items() if size > GIB / 200)
    size = f"{shape.parameters / 1e6:.1f}M parameters" + (
        f", adapter {shape.adapter / 1e6:.1f}M" if shape.adapter else ""
    )
    text = f"about {peak / GIB:.2f} GiB at the peak on each rank ({size}, {how}"
    text += f"; {parts})" if parts else ")"
    if there.memory is None:
        kind = "bfloat16" if there.half else "float32"
        hint = f"for this CPU in {kind}; --gpus 8 --gpu-memory 80 plans for a machine with GPUs"
        yield Finding("note", "memory", f"{text}, {hint}")
        return
    text = f"{text}; the GPU has {there.memory / GIB:.0f}"
    if peak > there.memory:
        fix = "use a smaller micro_batch, gradient_checkpointing, zero3, a lower vllm_gpu_memory_utilization, or sleep mode"
        yield Finding("fail", "memory", text, fix)
    elif peak > ROOM * there.memory:
        yield Finding("warn", "memory", text, "use a smaller micro_batch")
    else:
        yield Finding("ok", "memory", text)
    if vllm and not cold:
        yield _cache(shape, run, args, vllm, tokens)


def _cache(shape: Shape, run: Recipe, args: GRPOConfig, vllm: int, tokens: int) -> Finding:
    """Check vLLM's KV cache: its share minus weights and buffers, in full-length sequences. vLLM needs at least one."""
    room = vllm - 2 * shape.parameters - VLLM_FIXED
    longest = args.vllm_max_model_length or tokens
    fit = room / (cache_per_token(shape) * longest)
    text = (
        f"vLLM's share leaves {max(0, room) / GIB:.1f} GiB of cache: {max(0.0, fit):.0f} sequences of {longest} tokens"
    )
    if fit < 1:
        return Finding("fail", "vllm", text, "raise vllm_gpu_memory_utilization, or lower vllm_max_model_length")
    return Finding("ok", "vllm", f"{text}, max_num_seqs {run.max_num_seqs}")


def disk_finding(shape: Shape, args: GRPOConfig, half: bool, how: str, free: int | None) -> Finding:
    """Check disk space for the kept checkpoints, one being written, and the final weights. `free` None: another machine."""
    kept = (args.save_total_limit or max(1, int(args.max_steps // max(1, args.save_steps)))) + 1
    needed = kept * checkpoint_bytes(shape, half, how) + (shape.adapter or shape.parameters) * 4
    text = f"{kept} checkpoints and the final weights take {needed / GIB:.2f} GiB"
    if free is None:
        return Finding("note", "disk", text)
    text = f"{text}; {free / GIB:.1f} GiB free"
    if needed > free:
        return Finding("fail", "disk", text, "choose another --run_dir, or lower save_total_limit")
    return Finding("ok", "disk", text)
