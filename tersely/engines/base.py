"""The base class of the rollout engines, with every hook: requests (token ids, one seed per sample), generations, settings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tersely.engines.registry import Capabilities, capabilities_of


@dataclass(frozen=True)
class GenerationRequest:
    prompt_ids: tuple[int, ...]
    """Prompt tokens, prefill included."""
    seed: int
    """63 bits, from (run seed, step, prompt id, sample index)."""
    max_new_tokens: int
    stop_ids: tuple[int, ...] = ()
    """Tokens that end this request beside EOS; the one that did is kept."""
    banned_ids: tuple[int, ...] = ()
    """Tokens that are never drawn."""
    logprobs: bool = False
    """Report log-probs where the engine does so only when asked (transformers: of the unscaled, unbanned logits)."""


@dataclass(frozen=True)
class Generation:
    token_ids: tuple[int, ...]
    """Sampled tokens, EOS included."""
    logprobs: tuple[float, ...] | None
    """Of the sampled tokens at the sampling temperature, nats; None where the engine reports none."""
    finish: str
    """`eos`, `length`, or `stop` for one of the request's own stop ids."""


class GenerationStream(Protocol):
    """Requests under way, used as a context manager."""

    def __enter__(self) -> GenerationStream: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def pending(self) -> int:
        """Requests whose answers `ready` has not given yet."""

    def add(self, key: Hashable, request: GenerationRequest) -> None: ...

    def ready(self) -> list[tuple[Hashable, Generation]]:
        """(key, generation) of the answers that have come since; waits for the first. Empty after `wake`."""

    def wake(self) -> None:
        """Have `ready` return, from any thread."""


@dataclass(frozen=True)
class EngineSettings:
    """What an engine may be made from; each reads what concerns it. Lengths are in tokens."""

    tokenizer: Any
    model: Any
    """A hub id or folder; for an engine with `trained_model` also the transformers model itself."""
    unwrapped: Callable[[], AbstractContextManager[Any]] | None = None
    """With `trained_model`: yields the plain model to generate with (gathered, gradient checkpointing off)."""
    rows_at_once: int | None = None
    """With `trained_model`: samples of one batch; None for all."""
    dtype: str | None = None
    """Of weights that the engine loads; None for its own choice."""
    seed: int = 0
    sampling: Any = None
    """The sampling of the requests to come, where it may be an adaptive one."""
    max_model_len: int | None = None
    """Prompt and completion; None for the model's own."""
    max_num_seqs: int = 256
    """Sequences decoded at once."""
    gpu_memory_utilization: float = 0.3
    """Share of the GPU's memory, for an engine with a copy of the weights."""
    sleep: bool = False
    """Free the GPU between rollouts."""
    servers: tuple[str, ...] = ()
    """Addresses, for an engine with `servers`."""
    run_dir: Path = Path("runs/run")
    deadline_s: float = 1800.0
    """Longest time without progress, seconds."""


class Engine:
    """A rollout engine. `create` and `generate` are required; every other method has a default."""

    name: ClassVar[str]
    """Its key in `registry.ENGINES`."""
    tokenizer: Any
    model: Any
    """With `model_access`: the transformers model."""
    context: int | None = None
    """Longest sequence, tokens; None where it is not known."""

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(self.name)

    @property
    def batch(self) -> int:
        """Requests that an evaluation hands over at once."""
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
        """One generation a request, in order.

        `temperature`: a number, 0 decodes greedily; with `logits` also a function (R, V) raw logits -> (R, V). `top_p` 1 and
        `top_k` 0 are off. `extra_args` are arguments of the engine's logits processors.
        """
        raise NotImplementedError

    def stream(
        self,
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> GenerationStream:
        """With `streaming`: takes requests one by one and gives answers as they come; hand it to `used` at its end."""
        raise NotImplementedError

    def used(self, stream: Any) -> None:
        """With `streaming`: keep what `metrics` reports of the stream."""

    def sync_weights(self, model: Any, version: int) -> None:
        """With `weight_sync`: take the weights of the (possibly wrapped or sharded) trained model.

        `version` is the optimizer step they belong to. Every rank must call this: gathering a shard is a collective.
        """

    def reading_model(self) -> Any:
        """With `hidden_states`: a transformers model with the weights that the engine generates with."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """Metrics of this rank's rollouts since the last call."""
        return {}

    def facts(self) -> dict[str, Any]:
        """For messages about the log-prob mismatch.

        `version`: step of its weights, None before the first synchronisation. `dtype`. `stale_head`: a tied output head may
        be old. `truncated_sampling`: top-p or top-k cut the distribution.
        """
        return {"engine": self.name}

    def close(self) -> None:
        """Release memory, threads and files. Calling it twice does no harm."""


class StaleEngineError(RuntimeError):
    """The engine's log-probs have left the trainer's."""
