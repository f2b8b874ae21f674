"""Estimates the hours of a run on another machine's GPUs, from published hardware figures.

    generation  R m / S decode steps of t(S), then (cap - m) steps of t(S / 8) for the longest answers, and the prefill
    t(s)        max((2 P + s k (p + m / 2)) / (E_b bandwidth), 2 P s / (E_f flops)) + o
    S           min(R, max_num_seqs, vLLM's cache / (k (p + m)))
    training    R (p + m) tokens; 2 P + 2 L h_q d (p + m) FLOPs per token of a forward pass, three times that with the
                backward pass, four times with gradient checkpointing; one more forward pass if the old policy's
                log-probs or entropies are needed before the update

Symbols: R rows of one rank in a generation batch, m mean tokens of an answer, p of a prompt, P parameters, L layers, h_q
and h_kv heads, d head size, k = 4 L h_kv d bytes of cache per token, o seconds that one decode step costs besides.
Not counted: communication, weight sync, saving, evaluation, verification that generation does not hide.
The error is within a factor of two in either direction. `tersely preflight` on the machine itself measures instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tersely.algorithms.oversampling import oversampling_factor
from tersely.configs.dataset import SourceSpec, file_kind
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.engines.activation_checkpointing import setting
from tersely.engines.registry import ENGINES, capabilities_of
from tersely.launch.cli.parser import number, whole
from tersely.launch.preflight.memory_estimate import Shape
from tersely.rl.update.batch_size import BatchLayout

if TYPE_CHECKING:
    from trl import GRPOConfig

GIB = 1 << 30
FLOPS_SHARE, DECODE_FLOPS_SHARE, BANDWIDTH_SHARE = 0.25, 0.4, 0.5
"""Assumed shares of the peak in training, decoding and memory reads (E_f of training, of decoding; E_b)."""
TAIL = 8
"""While the longest answers finish, one in `TAIL` sequences is still running."""
SERVER_SHARE = 0.9
"""vLLM's share of a GPU that a server has to itself."""
COUNTED_BYTES = 1 << 28
"""Largest data file whose rows are counted for a plan, bytes."""
VLLM_FIXED = 2 * GIB
"""Bytes of vLLM's share for activations and CUDA graphs."""


@dataclass(frozen=True)
class Gpu:
    name: str
    gib: float
    tflops: float
    """Dense bfloat16 FLOPs per second."""
    tb_per_s: float


GPUS = (
    Gpu("L4", 24, 121, 0.30),
    Gpu("RTX 4090", 24, 165, 1.01),
    Gpu("A100-40GB", 40, 312, 1.55),
    Gpu("L40S", 48, 362, 0.86),
    Gpu("A100", 80, 312, 2.04),
    Gpu("H100", 80, 989, 3.35),
    Gpu("H200", 141, 989, 4.8),
    Gpu("B200", 180, 2250, 8.0),
)
"""GPU name -> figures from the vendor's data sheets."""


@dataclass(frozen=True)
class Target:
    """Machine that a plan is for."""

    gpus: int
    """Training processes, on GPUs or a CPU."""
    memory: int | None
    """Memory of one GPU in bytes; None on a CPU."""
    kinds: tuple[Gpu, ...] = ()
    half: bool = False
    """True for bfloat16 arithmetic."""
    elsewhere: bool = False
    """True if the plan is for another machine."""


def add_options(parser: Any) -> None:
    parser.add_argument("--gpus", type=whole(1), help="plan for another machine with this many GPUs")
    parser.add_argument(
        "--gpu-memory",
        type=number(above=0),
        metavar="GIB",
        help="memory of one GPU of that machine: 24, 40, 48, 80, 141",
    )


def target(options: Any, recipe: Recipe, processes: int = 1) -> Target:
    """The machine that the options describe, or this one with `processes` ranks."""
    if options.gpus is None and options.gpu_memory is None:
        return this_machine(recipe, processes)
    if options.gpu_memory is None:
        here = this_machine(recipe, options.gpus)
        if here.memory is None:
            sizes = ", ".join(f"{size:g}" for size in sorted({gpu.gib for gpu in GPUS}))
            raise ConfigError(
                f"--gpus: needs --gpu-memory, the GiB of one GPU ({sizes}), because this machine has no GPU"
            )
        return here
    nearest_size = min({gpu.gib for gpu in GPUS}, key=lambda size: abs(size - options.gpu_memory))
    kinds = tuple(gpu for gpu in GPUS if gpu.gib == nearest_size)
    return Target(options.gpus or 1, int(options.gpu_memory * GIB), kinds, _half(recipe), elsewhere=True)


def this_machine(recipe: Recipe, processes: int) -> Target:
    import torch

    if not torch.cuda.is_available():
        return Target(processes, None, half=recipe.trl.get("bf16") is True)
    name, memory = torch.cuda.get_device_name(0), torch.cuda.mem_get_info(0)[1]
    kinds = [gpu for gpu in GPUS if gpu.name.split("-")[0] in name]
    kinds.sort(key=lambda gpu: abs(gpu.gib * GIB - memory))
    return Target(processes, memory, tuple(kinds[:1]), _half(recipe))


def _half(recipe: Recipe) -> bool:
    """True if TRL trains in bfloat16: the default on a GPU."""
    asked = recipe.trl.get("bf16")
    return not recipe.trl.get("fp16") if asked is None else bool(asked)


@dataclass(frozen=True)
class Workload:
    """One generation batch on one rank."""

    rows: int
    engine_rows: int
    """Rows that one engine generates, on a rank or a server."""
    mean: float
    """Mean tokens of an answer."""
    cap: int
    prompt: float
    """Mean tokens of a prompt."""
    group_size: int
    step_s: float
    """o: what one decode step costs besides, see `EngineEntry.step_s`."""
    draws: float = 1.0
    """Rollouts per trained row; above 1 if filtered groups are resampled."""
    max_num_seqs: int = 256
    vllm_bytes: int = 0
    """vLLM's share of the GPU; 0 for engine: transformers."""
    pass_before: bool = False
    """True if the update needs one more forward pass first."""
    iterations: int = 1
    checkpointing: bool = False
    micro_batch: int = 1

    @classmethod
    def of(
        cls, run: Recipe, args: GRPOConfig, there: Target, mean: float, prompt: float, kept: float = 1.0
    ) -> Workload:
        """Work of a run on the machine `there`. `kept`: share of groups that the filter keeps."""
        batch = BatchLayout.of(run, there.gpus)
        engine_rows, vllm, able = batch.rows_per_rank, 0, capabilities_of(run.engine)
        if able.own_copy:
            vllm = int((args.vllm_gpu_memory_utilization or 0) * (there.memory or 0))
        elif able.servers:  # separate GPUs that share the rows of all ranks
            vllm = int(SERVER_SHARE * (there.memory or 0))
            engine_rows = batch.rows // max(1, len(run.servers))
        return cls(
            rows=batch.rows_per_rank,
            engine_rows=engine_rows,
            mean=min(mean, args.max_completion_length),
            cap=args.max_completion_length,
            prompt=prompt,
            group_size=run.group_size,
            draws=expected_draws(kept, run),
            max_num_seqs=run.max_num_seqs,
            step_s=ENGINES[run.engine].step_s,
            vllm_bytes=vllm,
            pass_before=pass_before_update(run, args),
            iterations=args.num_iterations,
            checkpointing=bool(setting(args, "gradient_checkpointing")),
            micro_batch=run.micro_batch,
        )


def pass_before_update(run: Recipe, args: GRPOConfig) -> bool:
    """True if `rl/update/old_logprobs.py` does a forward pass over all rows.

    It does with several optimizer steps per batch, or if a component needs entropies or old log-probs.
    """
    from tersely.rl.config import objective_of
    from tersely.rl.rollouts.token_fields import OF_POLICY_PASS

    return run.updates_per_batch * args.num_iterations > 1 or bool(OF_POLICY_PASS & objective_of(run).needs)


def cache_per_token(shape: Shape, width: int = 2) -> int:
    """Bytes of vLLM's KV cache."""
    return 2 * width * shape.layers * shape.kv_heads * shape.head_size


def sequences_at_once(shape: Shape, work: Workload) -> int:
    """Rows that a rank decodes at the same time; 0 if vLLM's share has no room for one."""
    if not work.vllm_bytes:
        return work.engine_rows
    room = work.vllm_bytes - 2 * shape.parameters - VLLM_FIXED
    fit = int(room / (cache_per_token(shape) * (work.prompt + work.mean)))
    return max(0, min(work.engine_rows, work.max_num_seqs, fit))


def seconds(shape: Shape, work: Workload, gpu: Gpu) -> dict[str, float]:
    """Estimated seconds of each phase.

    `generate`, `old_logps` and `update` are per generation batch, `decode_step` per step, and `backward` per micro-batch in
    which every answer has the cap's length.
    """
    together = sequences_at_once(shape, work)
    if not together:
        raise ConfigError("vllm_gpu_memory_utilization: no room for vLLM's KV cache. Raise it")
    flops, bandwidth = gpu.tflops * 1e12, gpu.tb_per_s * 1e12

    def step(running: float) -> float:
        read = 2 * shape.parameters + running * cache_per_token(shape) * (work.prompt + work.mean / 2)
        return (
            max(read / (BANDWIDTH_SHARE * bandwidth), 2 * shape.parameters * running / (DECODE_FLOPS_SHARE * flops))
            + work.step_s
        )

    drawn = work.engine_rows * work.draws
    prefill = drawn / work.group_size * work.prompt * 2 * shape.parameters / (DECODE_FLOPS_SHARE * flops)
    tail = (work.cap - work.mean) * step(max(1, together / TAIL))

    def forward(rows: int, length: float) -> float:
        return rows * length * forward_flops(shape, length) / (FLOPS_SHARE * flops)

    one = forward(work.rows, work.prompt + work.mean)
    return {
        "generate": drawn * work.mean / together * step(together) + tail + prefill,
        "old_logps": one if work.pass_before else 0.0,
        "update": one * (4 if work.checkpointing else 3) * work.iterations,
        "decode_step": step(together),
        "backward": forward(work.micro_batch, work.prompt + work.cap) * (3 if work.checkpointing else 2),
    }


def forward_flops(shape: Shape, length: float) -> float:
    """FLOPs per token of a sequence of this many tokens."""
    return 2 * shape.parameters + 2 * shape.layers * shape.heads * shape.head_size * length


def expected_draws(kept: float, run: Recipe) -> float:
    """Rollouts per row of the batch with oversampling and rounds; `kept`: share of groups that the filter keeps."""
    first = oversampling_factor([kept], run.max_oversampling)
    missing = max(0.0, 1 - first * kept)  # share of the batch that is filtered after the first call
    return first + sum(missing * (1 - kept) ** n for n in range(run.max_resample_rounds))


def known_rows(sources: Sequence[SourceSpec]) -> int | None:
    """Number of problems of a dataset without a download: from limits, recorded counts, and rows of local files."""
    counts: Sequence[int | None] = [
        min(
            (
                n
                for n in (
                    source.limit,
                    *(source.expect_rows[:1] if source.split == "train" else ()),
                    rows_of_file(source),
                )
                if n
            ),
            default=None,
        )
        for source in sources
    ]
    return None if None in counts else sum(n for n in counts if n)


def rows_of_file(source: SourceSpec) -> int | None:
    """Number of rows of a local file of moderate size; None for anything else."""
    from pathlib import Path

    from tersely.data.sources import read_rows

    path = Path(str(source.path))
    if not file_kind(path) or not path.is_file() or path.stat().st_size > COUNTED_BYTES:
        return None
    return sum(1 for _ in read_rows(source, 0))


def amount(tokens: float) -> str:
    """A count in short form: `839M`, `2.4M`, `3,072`."""
    return f"{tokens / 1e6:,.0f}M" if tokens >= 1e8 else f"{tokens / 1e6:.1f}M" if tokens >= 1e6 else f"{tokens:,.0f}"


def duration(hours: float) -> str:
    return f"{hours * 3600:.0f} s" if hours < 0.05 else f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"
