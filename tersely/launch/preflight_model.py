"""What preflight knows of a model before its weights are loaded, and of the prompts before anything is drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tersely.launch.findings import Finding
from tersely.launch.memory import SHARDING, Load, Shape, checkpoint_bytes, estimate

GIB = 1 << 30
PROMPTS_READ = 512
"""Prompts whose length is counted, from the first."""
ROOM = 0.92
"""Share of a GPU that the estimate may fill: the rest is fragmentation and buffers."""


def shape_of(config: Any) -> Shape:
    """Of a transformers config. Parameters are counted on the meta device: no weight is read."""
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
    )


def sharding() -> str:
    """How this launch shards, from accelerate's environment; `none` outside one."""
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and stage:
        return f"zero{stage}" if f"zero{stage}" in SHARDING else "none"
    return "fsdp2" if os.environ.get("ACCELERATE_USE_FSDP") == "true" else "none"


def tokenizer_findings(tokenizer: Any, template: Any) -> Iterator[Finding]:
    """Chat template, pad and EOS."""
    tail = template.tail.strip()
    if template.opens_thinking:
        text = f"the template opens <think> itself (it ends with {tail!r}); a completion begins inside the thinking"
        yield Finding("note", "template", text)
    else:
        yield Finding("ok", "template", f"the assistant's turn begins with {tail!r}")
    pad, end = tokenizer.pad_token, tokenizer.eos_token
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        mend = "set pad_token to an unused special token and save the tokenizer"
        yield Finding("warn", "tokens", f"pad and EOS are the same ({end!r}): padding and endings look alike", mend)
    else:
        yield Finding("ok", "tokens", f"pad {pad!r}, EOS {end!r}")


def length_findings(longest: int, args: Any, config: Any) -> Iterator[Finding]:
    """Do the longest prompt (tokens) and the cap fit the model's context and vLLM's?"""
    cap = args.max_completion_length
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    text = f"prompts up to {longest} tokens, cap {cap}"
    for name, room in (("the model's context", context), ("vllm_max_model_length", args.vllm_max_model_length)):
        if room is not None and longest + cap > room:
            mend = f"max_completion_length of at most {max(0, room - longest)}, or a filter on long problems"
            yield Finding("fail", "lengths", f"{text}: more than {name} of {room}", mend)
            return
    yield Finding("ok", "lengths", f"{text}, context {context}")


def longest_prompt(tokenizer: Any, dataset: Any) -> int:
    """Tokens of the longest of the first prompts, template included."""
    rows = dataset.select(range(min(PROMPTS_READ, len(dataset))))
    return max(
        len(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"])
        for row in rows
    )


def memory_findings(
    shape: Shape, run: Any, args: Any, ranks: int, tokens: int, how: str, device_bytes: int | None
) -> Iterator[Finding]:
    """The estimate in words, against the device where there is one."""
    half = bool(args.bf16) and device_bytes is not None
    vllm = int((args.vllm_gpu_memory_utilization or 0) * (device_bytes or 0)) if run.engine == "vllm" else 0
    plan = run.batch_plan(ranks)
    load = Load(
        micro_rows=plan.micro_batch,
        rows=plan.rows_per_rank,
        tokens=tokens,
        half=half,
        checkpointing=bool(args.gradient_checkpointing),
        sharding=how,
        ranks=ranks,
        reference=bool(args.beta),
        vllm_bytes=vllm,
        vllm_sleeps=bool(args.vllm_enable_sleep_mode),
    )
    found = estimate(shape, load)
    peak = found.pop("peak")
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in found.items() if size > GIB / 200)
    text = f"about {peak / GIB:.2f} GiB at the peak on each rank ({shape.parameters / 1e6:.1f}M parameters, {how}"
    text += f"; {parts})" if parts else ")"
    if device_bytes is None:
        yield Finding("note", "memory", text)
    elif peak > device_bytes:
        mend = "a smaller micro_batch, gradient_checkpointing: true, zero3, a lower vllm_gpu_memory_utilization, sleep mode"
        yield Finding("fail", "memory", f"{text}; the GPU has {device_bytes / GIB:.0f}", mend)
    elif peak > ROOM * device_bytes:
        yield Finding("warn", "memory", f"{text}; the GPU has {device_bytes / GIB:.0f}", "a smaller micro_batch")
    else:
        yield Finding("ok", "memory", f"{text}; the GPU has {device_bytes / GIB:.0f}")


def disk_finding(shape: Shape, args: Any, half: bool, how: str, free: int) -> Finding:
    """Checkpoints that lie side by side, one being written, and the final weights."""
    kept = (args.save_total_limit or max(1, int(args.max_steps // max(1, args.save_steps)))) + 1
    needed = kept * checkpoint_bytes(shape, half, how) + shape.parameters * 4
    text = f"{kept} checkpoints and the final weights take {needed / GIB:.2f} GiB, {free / GIB:.1f} are free"
    if needed > free:
        return Finding("fail", "disk", text, "another --run_dir, or a lower save_total_limit")
    return Finding("ok", "disk", text)
