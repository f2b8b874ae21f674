"""Registry of the rollout engines: what each can do, and where its class is. Nothing is imported until `load`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, nearest


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do. Other code asks for a capability, never for the name of an engine."""

    trained_model: bool = False
    """Generates with the model that this process trains or evaluates: no weights to synchronise, no memory of its own."""
    servers: bool = False
    """Sends requests to servers, whose addresses it is given; without it the engine runs in this process."""
    weight_sync: bool = False
    """`sync_weights` replaces its weights with the trainer's."""
    streaming: bool = False
    """`stream` takes requests while others run."""
    logprobs: bool = False
    """Log-probs of the sampled tokens where `GenerationRequest.logprobs` asks for them."""
    sampler_logprobs: bool = False
    """Log-probs of all sampled tokens at their sampling temperature, unasked; training compares them with its own."""
    logits: bool = False
    """A temperature may be a function of the logits, (R, V) -> (R, V)."""
    processors: bool = False
    """`extra_args` reach logits processors, which it loads for a sampling that has `engine_arguments`."""
    hidden_states: bool = False
    """`reading_model` gives a transformers model with the same weights."""
    model_access: bool = False
    """`model` is the transformers model that it generates with, to be run one token at a time."""

    @property
    def own_copy(self) -> bool:
        """Holds weights of its own in this process: loads the model's folder, takes a share of the GPU's memory."""
        return not self.trained_model and not self.servers

    @property
    def trains(self) -> bool:
        """Can sample from the current weights of a training run."""
        return self.trained_model or self.weight_sync

    def lacks(self, needs: Iterable[str]) -> list[str]:
        """Those of the capabilities `needs` that are missing."""
        return [need for need in needs if not getattr(self, need)]


@dataclass(frozen=True)
class EngineEntry:
    path: str
    """`module:Class` of a subclass of `tersely.engines.base.Engine`."""
    capabilities: Capabilities
    package: str | None = None
    """What must be installed in the process that uses it, beyond the core dependencies."""
    step_s: float = 0.006
    """Seconds of scheduling, sampling and kernel starts in one decode step, for estimates of machines that are elsewhere."""

    def load(self) -> Any:
        """The class; imports what it needs."""
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
        Capabilities(
            servers=True, weight_sync=True, streaming=True, logprobs=True, sampler_logprobs=True, processors=True
        ),
    ),
    "server": EngineEntry("tersely.engines.openai:OpenAIEngine", Capabilities(servers=True)),
}
DEFAULT = "transformers"
ADDRESSED = "server"
"""The engine of an evaluation that is given an address in place of a name."""


def capabilities_of(name: str) -> Capabilities:
    return ENGINES[name].capabilities


def training_engines() -> list[str]:
    return [name for name, entry in ENGINES.items() if entry.capabilities.trains]


def require_training_engine(name: Any) -> Capabilities:
    """The capabilities of the recipe's `engine`; `ConfigError` for one that there is not, or that cannot train."""
    if name not in training_engines():
        raise ConfigError(f"engine: got {name!r}; {nearest(str(name), training_engines())}")
    return capabilities_of(name)


def needs_servers(recipe: Recipe) -> bool:
    """Does the recipe take rollouts from servers, and name none? The launchers start them."""
    return require_training_engine(recipe.engine).servers and not recipe.servers


def evaluation_engines(needs: Iterable[str] = ()) -> list[str]:
    """Engines that `tersely eval` can use, those that have all of the capabilities `needs`."""
    needs = tuple(needs)
    usable = {
        name: entry.capabilities
        for name, entry in ENGINES.items()
        if name == ADDRESSED or not entry.capabilities.servers
    }
    return [name for name, capabilities in usable.items() if not capabilities.lacks(needs)]
