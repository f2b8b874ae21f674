"""Base class of the rollout engines with all hooks, and the types of requests, generations and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tersely.core.seeds import continued_seed
from tersely.engines.registry import Capabilities, capabilities_of


@dataclass(frozen=True)
class GenerationRequest:
    prompt_ids: tuple[int, ...]
    """Prompt tokens, prefill included."""
    seed: int
    """63-bit seed from (run seed, step, prompt id, sample index)."""
    max_new_tokens: int
    stop_ids: tuple[int, ...] = ()
    """Tokens that end this request in addition to EOS; the final token is kept."""
    banned_ids: tuple[int, ...] = ()
    """Tokens that are never sampled."""
    logprobs: bool = False
    """Request log-probs from an engine that reports them on request (transformers: of the unscaled, unbanned logits)."""
    start: int = 0
    """Tokens that the row has sampled before this request, which continues it (`tersely.engines.phases`)."""

    @property
    def piece_seed(self) -> int:
        """Seed for an engine whose randomness starts anew in each request: the same one twice would repeat its noise."""
        return continued_seed(self.seed, self.start)


@dataclass(frozen=True)
class Generation:
    token_ids: tuple[int, ...]
    """Tokens after the prompt, EOS included."""
    logprobs: tuple[float, ...] | None
    """Log-probs of the sampled tokens at the sampling temperature, nats; None if the engine reports none."""
    finish: str
    """`eos`, `length`, or `stop` for one of the request's stop ids."""
    forced: tuple[bool, ...] = ()
    """Per token: True for one that the program wrote between two phases, with log-prob nan. Empty: none."""
    prefix: int = 0
    """Number of leading tokens that are those of the trace from which the row branches."""

    @property
    def sampled_ids(self) -> tuple[int, ...]:
        """The tokens without those that the program wrote."""
        if not self.forced:
            return self.token_ids
        return tuple(token for token, forced in zip(self.token_ids, self.forced, strict=True) if not forced)


@dataclass(frozen=True)
class EngineSettings:
    """Settings to create an engine; each engine uses a subset. Lengths are in tokens."""

    tokenizer: Any
    model: Any
    """Hub id or folder; for an engine with `trained_model` also the transformers model."""
    unwrapped: Callable[[], AbstractContextManager[Any]] | None = None
    """With `trained_model`: yields the plain model to generate with (gathered, gradient checkpointing off)."""
    rows_at_once: int | None = None
    """With `trained_model`: samples per batch; None for all."""
    dtype: str | None = None
    """dtype of weights that the engine loads; None for the engine's default."""
    seed: int = 0
    sampling: Any = None
    """The run's sampling component, which may be adaptive."""
    steered: bool = False
    """The trained model has steering vectors, for an engine with its own weights."""
    max_model_len: int | None = None
    """Maximum length of prompt plus completion; None for the model's."""
    max_num_seqs: int = 256
    """Number of sequences decoded at once."""
    gpu_memory_utilization: float = 0.3
    """Fraction of the GPU memory, for an engine with its own weights."""
    sleep: bool = False
    """Free the GPU memory between rollouts."""
    servers: tuple[str, ...] = ()
    """Server addresses, for an engine with `servers`."""
    run_dir: Path = Path("runs/run")
    deadline_s: float = 1800.0
    """Longest time without progress, seconds."""


class Engine:
    """A rollout engine. `create` and `generate` are required; every other method has a default."""

    name: ClassVar[str]
    """Key in `registry.ENGINES`."""
    tokenizer: Any
    model: Any
    """With `model_access`: the transformers model."""
    context: int | None = None
    """Longest sequence, tokens; None if unknown."""

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.name)

    @property
    def batch(self) -> int:
        """Number of requests per call in an evaluation."""
        return 256

    @classmethod
    def create(cls, settings: EngineSettings) -> Engine:
        raise NotImplementedError

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation per request, in order.

        `temperature`: a number, 0 is greedy; with `logits` also a function (R, V) raw logits -> (R, V). `top_p` 1 and `top_k` 0
        are off. `extra_args`: arguments of the engine's logits processors.
        """
        raise NotImplementedError

    def sync_weights(self, model: Any, version: int) -> None:
        """With `weight_sync`: load the weights of the (possibly wrapped or sharded) trained model.

        `version`: optimizer step of the weights. Every rank must call this, because gathering a shard is a collective.
        """

    def reading_model(self) -> Any:
        """With `hidden_states`: a transformers model with the engine's weights."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """Metrics of this rank's rollouts since the last call."""
        return {}

    def facts(self) -> dict[str, Any]:
        """State for messages about the log-prob mismatch.

        `version`: step of its weights, None before the first synchronisation. `dtype`. `stale_head`: a tied output head may be
        outdated. `truncated_sampling`: top-p or top-k truncate the distribution.
        """
        return {"engine": self.name}

    def close(self) -> None:
        """Release memory, threads and files. Can be called twice."""


class StaleEngineError(RuntimeError):
    """The engine's log-probs differ too much from the trainer's."""
