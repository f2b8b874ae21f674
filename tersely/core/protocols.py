"""Base class of the components of each slot, with all optional hooks and their defaults.

Symbols: P prompts, K rollouts per prompt (the group), N = P * K rows, R reward terms, T padded tokens, B rows of a
micro-batch, V vocabulary. Lengths are tokens, entropies and log-probs nats.

A component inherits from the class of its slot and overrides the hooks that it needs, with a class variable, a field, a
property or a method. A class from outside the package can omit the base class: `completed` adds it in `build`.
The table of hooks in docs/reference.md is generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from tersely.core.errors import ConfigError
from tersely.core.parse_completion import ParsedCompletion, parse_completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tersely.core.memory import PromptMemory
    from tersely.core.objective_parts import ObjectiveParts, Terms
    from tersely.core.types import RolloutPlan, Rollouts, Teacher, TokenBatch

    hook = property
else:

    class hook:
        """Default of an attribute. Unlike for a property, a field or an instance attribute of the same name overrides it, and
        the class has the same value."""

        def __init__(self, default):
            self.default, self.__doc__ = default, default.__doc__

        def __get__(self, component, cls=None):
            return self.default(cls if component is None else component)


class Stateful:
    """A component with state that is saved in checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """The component's state as JSON values. Empty: nothing is saved."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`; `{}` if the checkpoint has no state of this component."""


class Component(Stateful):
    """Hooks of every slot that works on whole groups: prompting, sampling, trim, reward, advantage, loss, filter."""

    @hook
    def needs(self) -> tuple[str, ...]:
        """Optional fields of `Rollouts` that the component reads, and columns of the dataset as `columns:<name>`."""
        return ()

    @hook
    def memory_fields(self) -> tuple[str, ...]:
        """Records of the prompt memory that the component reads or writes."""
        return ()

    def update(self, rollouts: Rollouts) -> None:
        """Update the state after scoring, once per generation batch, with the unfiltered groups; the same on every rank."""


class Prompting(Component):
    """Sets the instruction, prefill and budget of each rollout of a group."""

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        """One plan per rollout, `len(prompt_ids) * group_size` in total, the rollouts of a prompt adjacent."""
        raise NotImplementedError

    @hook
    def needs_step(self) -> bool:
        """True: `__call__` also receives `step`, the optimizer steps done in this stage; 0 in an evaluation."""
        return False

    def plans(self, *arguments: Any, step: int = 0) -> list[RolloutPlan]:
        """The result of `__call__`, with `step` if it is needed."""
        return self(*arguments, step=step) if self.needs_step else self(*arguments)  # type: ignore[call-arg]

    def check_cap(self, max_length: int) -> None:
        """Raise `ConfigError` if the component does not work with this max_completion_length (tokens)."""

    def measured(self, step: int) -> dict[str, float]:
        """Metrics of the step, by full name."""
        return {}

    def parse(self, turn: str) -> ParsedCompletion:
        """Mode, announced budget (tokens) and well-formedness of an assistant's whole turn, prefill included. By default,
        well formed means at most one thinking block with an answer after it."""
        return parse_completion(turn)


class Sampling(Component):
    """Sets the temperature of each token."""

    def __call__(self, logits: Tensor) -> Tensor:
        """(R, V) raw logits of R positions, divided by their temperatures."""
        raise NotImplementedError

    @hook
    def fixed_temperature(self) -> float | None:
        """Temperature (no unit) if it is the same for all tokens: `temperature`, if that is a number. None: it differs per
        token, and the engine samples through the component."""
        number = getattr(self, "temperature", None)
        return float(number) if isinstance(number, int | float) else None

    @hook
    def base_temperature(self) -> float:
        """Temperature (no unit) of the trainer's log-probs: `fixed_temperature`, else 1."""
        return 1.0 if self.fixed_temperature is None else self.fixed_temperature

    def engine_arguments(self) -> dict[str, str]:
        """`extra_args` of vLLM's SamplingParams, for the logits processor that applies the same temperatures. Empty: this
        sampling only works with `engine: transformers`."""
        return {}

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """Metrics of the batch's sampling temperatures, by full name."""
        return {}

    def drawn_logp(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """(n, T) log-probs (nats) at each token's temperature, from those at the base temperature and the entropies."""
        return logp


class Trim(Component):
    """Shortens rows after they are sampled; they are verified again and scored as if they had ended there."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(N,) int64 sampled tokens that each row keeps; `rollouts.length` where it is unchanged. A group's values depend
        only on its rows."""
        raise NotImplementedError

    def check_group_size(self, group_size: int) -> None:
        """Raise `ConfigError` if no row of such a group can be cut."""

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """Metrics of the sampled batch, by full name."""
        return {}


class Reward(Component):
    """Computes the reward of each rollout."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(N,) float32, nan for an undecided verdict."""
        raise NotImplementedError

    @hook
    def includes_outcome(self) -> bool:
        """True: the reward includes the verdict. False: the term is added to one that includes it."""
        return False

    @hook
    def violates_outcome_order(self) -> str:
        """Why a correct row can get less than an incorrect one of its group. Empty: it never does."""
        return ""

    @hook
    def scope(self) -> str:
        """`group`: the rewards of a prompt depend only on its rows. `batch`: on the whole generation batch."""
        return "group"

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """Metrics of the batch, by full name, before `update`."""
        return {}


class Advantage(Component):
    """Computes the advantage of each row or token."""

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        """(N,) rewards to (N,) or (N, T) advantages; 0 where the reward is nan. With `per_term` also receives `weights`."""
        raise NotImplementedError

    @hook
    def per_term(self) -> bool:
        """True: `__call__` receives (N, R), one unweighted column per reward term, and the (R,) weights, instead of the sum."""
        return False

    @hook
    def scope(self) -> str:
        """`group`: the advantages of a prompt depend only on its rows. `batch`: on the whole generation batch."""
        return "group"

    @hook
    def commits(self) -> bool:
        """True: `__call__` writes to the prompt memory. All other components write only in `update`."""
        return False

    @hook
    def knows_best_reward(self) -> bool:
        """True: it compares rewards with their best possible value, so controllers must not weigh them."""
        return False

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise `ConfigError` if the component does not work with the other slots."""


class Loss(Component):
    """Computes the per-token loss."""

    base: Loss | None = None
    """The wrapped loss. None: the loss is not a wrapper."""

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, T) loss of each token, 0 where not valid, and scalar metrics without a gradient: means over the valid tokens, and
        maxima under names with `max`."""
        raise NotImplementedError

    @hook
    def needs_live_entropy(self) -> bool:
        """True: the loss needs `batch.live_entropy`."""
        return False

    @hook
    def needs_ref_logp(self) -> bool:
        """True: the loss needs `batch.ref_logp`; a reference model is loaded."""
        return False

    @hook
    def needs_sampler_logp(self) -> bool:
        """True: the loss needs `batch.sampler_logp`; an engine that reports no log-probs is an error."""
        return False

    @hook
    def needs_step_entropy(self) -> bool:
        """True: `observe_step` is called with every generation batch. `needs` must have `entropy`."""
        return False

    @hook
    def teachers(self) -> tuple[Teacher, ...]:
        """Further distributions over every trained token, which `compare` receives. Empty: the loss reads only the
        log-probs of the sampled tokens."""
        return ()

    def compare(self, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        """(C, V) log-probs (nats) of the whole vocabulary at C tokens, under the current policy with gradient and under each
        teacher, to values (C,) by name: `batch.compared`. A token's values depend only on its own rows."""
        raise NotImplementedError

    def observe_step(self, entropy: Tensor, mask: Tensor) -> None:
        """(N, T) entropies (nats) of a generation batch over all ranks, and its trained tokens, before its first update."""

    def sum_over_ranks(self, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Receive the function that sums a tensor over ranks, for a loss with sums over the micro-batches of all ranks."""

    @hook
    def weighs_whole_rows(self) -> bool:
        """True: the weight of a row is a product over its tokens, so it is most extreme for long rows."""
        return False

    @hook
    def masks_tokens(self) -> bool:
        """True: it masks the loss of some valid tokens of the wrapped loss."""
        return False

    @hook
    def holds_every_token(self) -> bool:
        """True: it has a term for all tokens, so it warns inside a loss that masks tokens."""
        return False

    def with_ratio_bounds(self, low: float, high: float) -> Loss:
        """Copy with the ratio clipped to [low, high]; itself if controllers must not change its bounds."""
        return self

    def with_kl_factor(self, factor: float) -> Loss:
        """Copy with its KL coefficient times `factor`; itself if controllers must not change it."""
        return self


class Filter(Component):
    """Selects the groups to train on."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(P,) bool: the groups to train on."""
        raise NotImplementedError

    @hook
    def scope(self) -> str:
        """`group`: the decision depends only on the group's rows, so it can be made when the group is complete. `batch`: on the
        whole generation batch."""
        return "group"


class Controller(Stateful):
    """Adjusts a parameter during training, once per optimizer step."""

    value: float
    """The current value, logged as `controllers/<name>`."""

    @hook
    def statistic(self) -> str | tuple[str, ...]:
        """Step metrics that `update` receives, in this order; at least one. A step without one of them is skipped."""
        return ()

    def update(self, *values: Any, **_: Any) -> float:
        """Compute the new `value` from the metrics of `statistic`, each a mean over the step."""
        raise NotImplementedError

    def apply(self, loss: Loss) -> Loss:
        """Copy of the loss with the current `value`, or the loss itself."""
        return loss

    def apply_reward(self, reward: Terms) -> Terms:
        """Copy of the reward with the current `value`, or the reward itself."""
        return reward

    @hook
    def may_alarm(self) -> bool:
        """True: `alarm` may be set, so the run must be able to roll back. Default: True if the controller defines `alarm`."""
        return replaces(self, "alarm")

    @hook
    def alarm(self) -> str | None:
        """Reason for a rollback after the last update. None: no rollback."""
        return None

    @hook
    def good(self) -> bool:
        """True: the run may roll back to this step's checkpoint."""
        return True

    def rolled_back(self, before: dict[str, Any]) -> None:
        """Called after a rollback has restored the controller; `before`: its `state_dict` from before the rollback."""

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise `ConfigError` if the controller does not work with the slots."""


def loss_chain(loss: Loss) -> Iterator[Loss]:
    """The loss and its wrapped losses, from the outside in."""
    part: Loss | None = loss
    while part is not None:
        part = complete(Loss, part)
        yield part
        part = part.base


BASE_MODULES = (__name__, f"{__package__}.sft_loss")
"""Where the base classes with the default hooks are."""

C = TypeVar("C")
_COMPLETED: dict[tuple[type, type], type] = {}


def complete(base: type[C], component: Any) -> C:
    """The component with default hooks of `base`; a function as an object. `ConfigError` if its class takes no base class."""
    if isinstance(component, base):
        return component
    if isinstance(component, FunctionType):
        names = {"__module__": component.__module__, "__call__": staticmethod(component)}
        return completed(base, type(component.__name__, (), names))()
    try:
        object.__setattr__(component, "__class__", completed(base, type(component)))
    except TypeError as error:
        kind, wanted = type(component).__name__, f"{base.__module__}.{base.__name__}"
        raise ConfigError(f"{kind}: cannot be used as {wanted} ({error}). Inherit from {wanted}") from error
    return component


def completed(base: type, cls: type) -> Any:
    """The class with `base` as an additional base class; unchanged if it already inherits from it."""
    if issubclass(cls, base):
        return cls
    if (base, cls) not in _COMPLETED:
        names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
        _COMPLETED[base, cls] = type(cls.__name__, (cls, base), names)
    return _COMPLETED[base, cls]


def replaces(component: Any, name: str) -> bool:
    """True if a component or class overrides the hook of this name."""
    kind = component if isinstance(component, type) else type(component)
    own = [vars(one) for one in kind.__mro__ if one.__module__ not in BASE_MODULES]
    return any(name in names for names in (*own, {} if kind is component else vars(component)))
