"""Registry of the rollout engines with their capabilities and import paths. Nothing is imported until `load`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, nearest


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of an engine. Other code checks capabilities, never engine names."""

    trained_model: bool = False
    """Generates with the model that this process trains or evaluates: no weight sync, no additional memory."""
    servers: bool = False
    """Sends requests to servers; otherwise the engine runs in this process."""
    weight_sync: bool = False
    """`sync_weights` replaces its weights with the trainer's."""
    logprobs: bool = False
    """Reports log-probs of the sampled tokens if `GenerationRequest.logprobs` is set."""
    sampler_logprobs: bool = False
    """Always reports log-probs of the sampled tokens at the sampling temperature; training compares them with its own."""
    logits: bool = False
    """The temperature can be a function of the logits, (R, V) -> (R, V)."""
    processors: bool = False
    """Passes `extra_args` to logits processors, which it loads for a sampling with `engine_arguments`."""
    hidden_states: bool = False
    """`reading_model` returns a transformers model with the same weights."""
    model_access: bool = False
    """`model` is the transformers model, which can be run one token at a time."""

    @property
    def own_copy(self) -> bool:
        """Has its own weights in this process: loads the model's folder and uses a share of the GPU memory."""
        return not self.trained_model and not self.servers

    @property
    def trains(self) -> bool:
        """Can sample from the current weights of a training run."""
        return self.trained_model or self.weight_sync

    def lacks(self, needs: Iterable[str]) -> list[str]:
        """The capabilities of `needs` that are missing."""
        return [need for need in needs if not getattr(self, need)]


@dataclass(frozen=True)
class EngineEntry:
    path: str
    """`module:Class` of a subclass of `tersely.engines.base.Engine`."""
    capabilities: Capabilities
    package: str | None = None
    """Packages that it needs in addition to the core dependencies."""
    step_s: float = 0.006
    """Seconds of scheduling, sampling and kernel starts per decode step, for estimates of other machines."""

    def load(self) -> Any:
        """Import and return the class."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)


ENGINES: dict[str, EngineEntry] = {
    "transformers": EngineEntry(
        "tersely.engines.transformers:TransformersEngine",
        Capabilities(trained_model=True, logprobs=True, logits=True, hidden_states=True, model_access=True),
        step_s=0.03,
    ),
    "vllm": EngineEntry(
        "tersely.engines.vllm:VLLMEngine",
        Capabilities(weight_sync=True, logprobs=True, sampler_logprobs=True, processors=True, hidden_states=True),
        package="vllm",
    ),
    "vllm_server": EngineEntry(
        "tersely.engines.server.engine:ServerEngine",
        Capabilities(servers=True, weight_sync=True, logprobs=True, sampler_logprobs=True, processors=True),
    ),
    "server": EngineEntry("tersely.engines.openai:OpenAIEngine", Capabilities(servers=True)),
}
DEFAULT = "transformers"
ADDRESSED = "server"
"""Engine of an evaluation with a server address instead of a name."""


def capabilities_of(name: str) -> Capabilities:
    return ENGINES[name].capabilities


def training_engines() -> list[str]:
    return [name for name, entry in ENGINES.items() if entry.capabilities.trains]


def require_training_engine(name: Any) -> Capabilities:
    """Capabilities of the recipe's `engine`; raises `ConfigError` for an unknown engine, or one that cannot train."""
    if name not in training_engines():
        raise ConfigError(f"engine: got {name!r}; {nearest(str(name), training_engines())}")
    return capabilities_of(name)


def needs_servers(recipe: Recipe) -> bool:
    """True if the recipe uses servers but lists none, so that the launchers start them."""
    return require_training_engine(recipe.engine).servers and not recipe.servers


def evaluation_engines(needs: Iterable[str] = ()) -> list[str]:
    """Engines of `tersely eval` with all capabilities of `needs`."""
    needs = tuple(needs)
    usable = {
        name: entry.capabilities
        for name, entry in ENGINES.items()
        if name == ADDRESSED or not entry.capabilities.servers
    }
    return [name for name, capabilities in usable.items() if not capabilities.lacks(needs)]
