"""Creates the engines of `registry.ENGINES`, for training, evaluation and preflight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.configs.peft import STEERING
from tersely.configs.recipe import Recipe
from tersely.engines.base import Engine, EngineSettings
from tersely.engines.model_folder import model_location
from tersely.engines.models import arithmetic
from tersely.engines.registry import ENGINES, capabilities_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig


def create_engine(name: str, settings: EngineSettings) -> Engine:
    engine: Engine = ENGINES[name].load().create(settings)
    return engine


def make_engine(
    run: Recipe, args: GRPOConfig, tokenizer: PreTrainedTokenizerBase, sampling: Any = None
) -> Engine | None:
    """Engine of a training run; None if it generates with the trained model: the trainer or `own_engine` creates that one."""
    if capabilities_of(run.engine).trained_model:
        return None
    settings = EngineSettings(
        tokenizer,
        model_location(run.model_name_or_path),
        seed=args.seed,
        sampling=sampling,
        steered=run.peft is not None and run.peft.method == STEERING,
        max_model_len=args.vllm_max_model_length,
        max_num_seqs=run.max_num_seqs,
        gpu_memory_utilization=args.vllm_gpu_memory_utilization,
        sleep=args.vllm_enable_sleep_mode,
        servers=tuple(run.servers),
        run_dir=Path(run.run_dir),
        deadline_s=run.deadline_seconds,
    )
    return create_engine(run.engine, settings)


def own_engine(
    run: Recipe, args: GRPOConfig, tokenizer: PreTrainedTokenizerBase, model: Any, rows_at_once: int | None = None
) -> Engine:
    """Engine that generates with the trained model outside a trainer, on its device and with its precision."""
    model = model.to(args.device)

    @contextmanager
    def computing() -> Iterator[Any]:
        with arithmetic(args):
            yield model

    settings = EngineSettings(tokenizer, model, unwrapped=computing, rows_at_once=rows_at_once)
    return create_engine(run.engine, settings)
