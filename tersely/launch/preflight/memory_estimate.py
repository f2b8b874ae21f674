"""Estimates the training memory of one GPU in bytes, term by term, before anything is loaded.

    weights + gradients + optimizer   P w / n_w + P g / n_g + P o / n_o          (+ P w / n_w per frozen model)
    activations                       B T a c L, with gradient checkpointing B T a (c + h L)
    casts                             2 P where autocast computes in bfloat16 over float32 weights
    head                              min(C, B T) min(V_c, V) a + V h 4 + B T h 4
    cache (engine: transformers)      R T 2 L h_kv d w      (+ P w gathered, where the weights are sharded)
    vLLM                              u * device
    peak = states + casts + max(activations + head, cache),  plus vLLM where it does not sleep (max where it does)

Symbols: P parameters; w, g, o bytes per parameter of weights, gradients and optimizer states (AdamW): 4, 4, 8 in float32,
for any compute dtype; DeepSpeed also keeps a float32 master copy: 2, 2, 12 in bfloat16, 4, 4, 12 in float32, and
accumulates bfloat16 gradients in float32 (2 more).
n ranks for a sharded part, else 1: the optimizer from ZeRO-1 on, gradients from ZeRO-2 on, weights in ZeRO-3
and FSDP2 (Rajbhandari et al., arXiv 1910.02054, section 5). B rows of a micro-batch, T tokens of prompt and cap, a bytes
of an activation (2 or 4), L layers, h hidden size, h_q and h_kv heads of queries and keys, d head size, V vocabulary,
R rows of a rank, u vLLM's share. C x V_c is the tile of logits that TRL's fused head holds; its gradients are summed in
float32. c = 10 h + 3 (h_q + h_kv) d + 4 m elements per token are what autograd keeps of a gated-MLP decoder layer of inner
size m with fused attention (norms are kept twice); with checkpointing, those of one layer, and every layer's input.

With an adapter of A parameters (LoRA), gradients and optimizer states count A for P. The frozen weights are 2 bytes in
bfloat16 and 4 in float32, and A is float32. There is no reference model and no gradient of the head (V h 4). Activations are
an upper bound: autograd keeps 12 to 15 % less than for all weights (embedded model, rank 4).

Differences from a measurement: no fragmentation, no communication buffers, every row at the cap. Short answers need
less. Mixtures of experts count all experts' weights and one expert's activations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

SHARDING = ("none", "zero1", "zero2", "zero3", "fsdp2")
HEAD_TILE = (4096, 32768)
"""C tokens, V_c logits: TRL 1.16's chunked log-probs."""
ADAM = 8
"""Bytes per parameter of two float32 moments."""


@dataclass(frozen=True)
class Shape:
    """Shape of a model, for the estimate."""

    parameters: int
    layers: int
    hidden: int
    inner: int
    """m, inner size of the gated MLP."""
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    adapter: int = 0
    """A, trained parameters of an adapter; 0 trains all weights."""


@dataclass(frozen=True)
class Load:
    """Batch and precision of a run on one rank."""

    micro_rows: int
    """B."""
    rows: int
    """R, rows of a rank in a generation batch, with those of oversampling."""
    tokens: int
    """T, prompt and cap."""
    half: bool = True
    """bfloat16 arithmetic and activations."""
    checkpointing: bool = False
    sharding: str = "none"
    ranks: int = 1
    reference: bool = False
    teachers: int = 0
    """Further frozen models of the same size."""
    vllm_bytes: int = 0
    """u, vLLM's share of the device; 0 for engine: transformers."""
    vllm_sleeps: bool = False


def estimate(shape: Shape, load: Load) -> dict[str, int]:
    """Bytes of each term, and `peak`."""
    weights, gradients, optimizer = _states(shape, load)
    act = 2 if load.half else 4
    layer = 10 * shape.hidden + 3 * (shape.heads + shape.kv_heads) * shape.head_size + 4 * shape.inner
    row_tokens = load.micro_rows * load.tokens
    activations = (
        row_tokens * act * (layer + shape.layers * shape.hidden if load.checkpointing else layer * shape.layers)
    )
    tile = min(HEAD_TILE[0], row_tokens) * min(HEAD_TILE[1], shape.vocabulary)
    head = tile * act + 4 * shape.hidden * ((0 if shape.adapter else shape.vocabulary) + row_tokens)
    cache = 0
    if not load.vllm_bytes:
        width = 2 if load.half else 4
        cache = load.rows * load.tokens * 2 * shape.layers * shape.kv_heads * shape.head_size * width
        if load.sharding in ("zero3", "fsdp2") and load.ranks > 1:
            cache += shape.parameters * width
    casts = 2 * (shape.adapter or shape.parameters) if load.half and load.sharding == "none" else 0
    working = casts + max(activations + head, cache)
    accumulation = gradients if load.half and load.sharding.startswith("zero") else 0
    weights *= 1 + (load.reference and not shape.adapter) + load.teachers
    states = weights + gradients + accumulation + optimizer
    if load.vllm_sleeps:
        peak = max(states + working, states + load.vllm_bytes)
    else:
        peak = states + working + load.vllm_bytes
    return {
        "weights": weights,
        "gradients": gradients,
        "accumulation": accumulation,
        "optimizer": optimizer,
        "activations": activations,
        "casts": casts,
        "head": head,
        "cache": cache,
        "vllm": load.vllm_bytes,
        "peak": peak,
    }


def _states(shape: Shape, load: Load) -> tuple[int, int, int]:
    """Bytes of weights, gradients and optimizer states on one rank."""
    deepspeed = load.sharding.startswith("zero")
    weight = gradient = 2 if load.half and deepspeed else 4
    frozen = (2 if load.half else 4) * shape.parameters if shape.adapter else 0
    trained = shape.adapter or shape.parameters
    optimizer = ADAM + 4 if deepspeed else ADAM
    stage = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "fsdp2": 3}[load.sharding]
    return (
        int((frozen + trained * weight) / (load.ranks if stage >= 3 else 1)),
        int(trained * gradient / (load.ranks if stage >= 2 else 1)),
        int(trained * optimizer / (load.ranks if stage >= 1 else 1)),
    )


def checkpoint_bytes(shape: Shape, half: bool, sharding: str = "none") -> int:
    """Bytes of one checkpoint on disk: trained weights and optimizer states of all ranks."""
    saved = dataclasses.replace(shape, parameters=shape.adapter or shape.parameters, adapter=0)
    weights, _, optimizer = _states(saved, Load(1, 1, 1, half=half, sharding=sharding))
    return weights + optimizer
