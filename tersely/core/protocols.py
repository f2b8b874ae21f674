"""What each slot calls on its component: one base class per slot, with every optional hook and its default.

Symbols: P prompts, K rollouts of a prompt (the group), N = P * K rows, R reward terms, T padded tokens, B rows of a
micro-batch, V vocabulary. Lengths are tokens, entropies and log-probs nats.

A component inherits from the class of its slot and replaces the hooks that it needs, by a class variable, a field, a property
or a method. A class from outside the package may leave the base class out: `completed` adds it once, in `build`.
docs/reference.md has a table of the hooks, made from this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tersely.core.parse_completion import ParsedCompletion, parse_completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tersely.core.memory import PromptMemory
    from tersely.core.types import RolloutPlan, Rollouts, TokenBatch

    hook = property
else:

    class hook:
        """The default of an attribute. Unlike a property, it gives way to a field or an instance's attribute of its name, and
        it has the same value on the class."""

        def __init__(self, default):
            self.default, self.__doc__ = default, default.__doc__

        def __get__(self, component, cls=None):
            return self.default(cls if component is None else component)


class Stateful:
    """State that is saved with the checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """What the component has learnt, as plain values that JSON holds. Empty: nothing is saved."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; `{}` where the checkpoint has nothing of this component."""


class Component(Stateful):
    """Hooks of every slot that works on whole groups: prompting, sampling, reward, advantage, loss, filter."""

    @hook
    def needs(self) -> tuple[str, ...]:
        """Optional fields of `Rollouts` that the component reads, and columns of the data set as `columns:<name>`."""
        return ()

    @hook
    def memory_fields(self) -> tuple[str, ...]:
        """Records of the prompt memory that the component reads or writes."""
        return ()

    def update(self, rollouts: Rollouts) -> None:
        """Learn from a generation batch: once, after it was scored, from the unfiltered groups, the same on every rank."""


class Prompting(Component):
    """How each rollout of a group is prompted."""

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        """One plan per rollout, `len(prompt_ids) * group_size` in all, the rollouts of a prompt adjacent."""
        raise NotImplementedError

    def parse(self, turn: str) -> ParsedCompletion:
        """Mode, announced budget (tokens) and well-formedness of an assistant's whole turn, prefill included. By default at
        most one thinking block with an answer after it is well formed."""
        return parse_completion(turn)


class Sampling(Component):
    """How tokens are sampled."""

    def __call__(self, logits: Tensor) -> Tensor:
        """(R, V) raw logits of R positions, over their temperatures."""
        raise NotImplementedError

    @hook
    def fixed_temperature(self) -> float | None:
        """The temperature (no unit) where all tokens have the same one: `temperature`, if that is a number. None: it differs by
        token, and the engine samples through the component."""
        number = getattr(self, "temperature", None)
        return float(number) if isinstance(number, int | float) else None

    @hook
    def base_temperature(self) -> float:
        """The temperature (no unit) of the trainer's log-probs: `fixed_temperature`, else 1."""
        return 1.0 if self.fixed_temperature is None else self.fixed_temperature

    def engine_arguments(self) -> dict[str, str]:
        """`extra_args` of vLLM's SamplingParams, for the logits processor that samples at the same temperatures there. Empty:
        this sampling works with `engine: transformers` alone."""
        return {}

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        """Metrics of the temperatures that this batch was sampled at, under their full names."""
        return {}

    def drawn_logp(self, logp: Tensor, entropy: Tensor) -> Tensor:
        """(n, T) log-probs (nats) at the tokens' own temperatures, from those at the base temperature and the entropies."""
        return logp


class Reward(Component):
    """What reward a rollout gets."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(N,) float32, nan where the verdict is undecided."""
        raise NotImplementedError

    @hook
    def includes_outcome(self) -> bool:
        """True: the verdict is a part of the reward. False: the term is added to one that holds it."""
        return False

    @hook
    def violates_outcome_order(self) -> str:
        """Why a correct row may get less than an incorrect one of its group. Empty: it never does."""
        return ""

    @hook
    def scope(self) -> str:
        """`group`: the rewards of a prompt depend on its own rows alone. `batch`: on the whole generation batch."""
        return "group"


class Advantage(Component):
    """What advantage each row or token gets."""

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        """(N,) rewards, or (N, R) with `per_term`, to (N,) or (N, T) advantages; 0 where the reward is nan."""
        raise NotImplementedError

    @hook
    def per_term(self) -> bool:
        """True: `__call__` receives (N, R), one weighted column per reward term, in place of their sum."""
        return False

    @hook
    def scope(self) -> str:
        """`group`: the advantages of a prompt depend on its own rows alone. `batch`: on the whole generation batch."""
        return "group"

    @hook
    def commits(self) -> bool:
        """True: `__call__` writes to the prompt memory. Everything else writes in `update` only."""
        return False

    @hook
    def knows_best_reward(self) -> bool:
        """True: it compares rewards with the best value that they can have, so no controller may weigh them."""
        return False

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise `ConfigError` where it cannot work with the other slots."""


class Loss(Component):
    """Which loss is minimised."""

    base: Loss | None = None
    """The loss that this one wraps. None: it wraps none."""

    def __call__(self, batch: TokenBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, T) loss of each token, 0 where not valid, and scalar metrics without a gradient: means over the valid tokens, and
        maxima under names with `max`."""
        raise NotImplementedError

    @hook
    def needs_live_entropy(self) -> bool:
        """True: `batch.live_entropy` is there."""
        return False

    @hook
    def needs_ref_logp(self) -> bool:
        """True: `batch.ref_logp` is there; a reference model is loaded."""
        return False

    @hook
    def needs_sampler_logp(self) -> bool:
        """True: `batch.sampler_logp` is read; an engine that reports no log-probs is an error."""
        return False

    @hook
    def needs_step_entropy(self) -> bool:
        """True: `observe_step` is called with every generation batch. `needs` must have `entropy`."""
        return False

    def observe_step(self, entropy: Tensor, mask: Tensor) -> None:
        """(N, T) entropies (nats) of a generation batch over all ranks, and its trained tokens, before its first update."""

    def sum_over_ranks(self, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Keep the function that sums a tensor over ranks, for a loss with sums over the micro-batches of all ranks."""

    @hook
    def weighs_whole_rows(self) -> bool:
        """True: it weighs a row by a product over all its tokens, so long rows are weighed hardest."""
        return False

    @hook
    def masks_tokens(self) -> bool:
        """True: it drops the loss of some valid tokens of the loss that it wraps."""
        return False

    @hook
    def holds_every_token(self) -> bool:
        """True: it has a term that is meant for all tokens; inside a loss that masks tokens it warns."""
        return False

    def with_ratio_bounds(self, low: float, high: float) -> Loss:
        """A copy whose ratio is clipped to [low, high]; itself where no controller may move its bounds."""
        return self

    def with_kl_factor(self, factor: float) -> Loss:
        """A copy with its KL coefficient times `factor`; itself where no controller may move it."""
        return self


class Filter(Component):
    """Which groups are trained on."""

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """(P,) bool, the groups that train."""
        raise NotImplementedError

    @hook
    def scope(self) -> str:
        """`group`: a group is kept or not by its own rows, so it can be judged as soon as it is complete. `batch`: by the whole
        generation batch."""
        return "group"


class Controller(Stateful):
    """Moves a parameter during training, once per optimiser step."""

    value: float
    """What it sets, logged as `controllers/<name>`."""

    @hook
    def statistic(self) -> str | tuple[str, ...]:
        """The step metrics that `update` receives, in its order; at least one. A step without one of them is no update."""
        return ()

    def update(self, *values: Any, **_: Any) -> float:
        """The new `value`, from one number per metric of `statistic`: its mean over the step."""
        raise NotImplementedError

    def apply(self, loss: Loss) -> Loss:
        """The loss in force: a copy at the current `value`, or itself."""
        return loss

    def apply_reward(self, reward: Terms) -> Terms:
        """The reward in force likewise."""
        return reward

    @hook
    def may_alarm(self) -> bool:
        """True: `alarm` may be set, so the run must be able to roll back. By default where the controller has an `alarm`."""
        return replaces(self, "alarm")

    @hook
    def alarm(self) -> str | None:
        """Why the last update calls for a roll-back. None: it does not."""
        return None

    @hook
    def good(self) -> bool:
        """True: the checkpoint of this step may be rolled back to."""
        return True

    def rolled_back(self, before: dict[str, Any]) -> None:
        """After a roll-back has restored the controller; `before` is its `state_dict` from before that."""

    def check_objective(self, objective: ObjectiveParts) -> None:
        """Raise `ConfigError` where it cannot work with the slots."""


class SFTLoss:
    """The loss of a cold start."""

    def __call__(self, *inputs: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Inputs: `nll` and `entropy` (B, T) nats, `mask` (B, T) 0/1. Returns weights (B, T) without a gradient, and the loss
        of this batch alone. The trainer divides the weighted sum by the tokens of the whole step."""
        raise NotImplementedError

    @hook
    def reads_exempt(self) -> bool:
        """True: `__call__` receives `exempt`, (B, T) bool, the tokens that an example marks."""
        return False

    @hook
    def reads_step(self) -> bool:
        """True: `__call__` receives `row_means`, the mean losses (nats) of all rows of the optimiser step. It costs a forward
        pass."""
        return False

    @hook
    def normalize(self) -> bool:
        """True: with `reads_step`, the sum is divided by the step's sum of weights in place of its tokens."""
        return False

    def kept_count(self, tokens: int) -> int:
        """The divisor (tokens), from the tokens of the step."""
        return tokens


class Terms(Protocol):
    """A weighted sum of reward terms; `core/reward_sum.py` has the one."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def terms(self) -> tuple[Reward, ...]: ...

    @property
    def weights(self) -> tuple[float, ...]: ...

    def unweighted(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one column per term."""

    def with_terms(self, terms: Sequence[Reward]) -> Terms:
        """The same sum over other terms."""


class ObjectiveParts(Protocol):
    """What `check_objective` may look at."""

    @property
    def reward(self) -> Terms: ...

    @property
    def advantage(self) -> Advantage: ...


def loss_chain(loss: Loss) -> Iterator[Loss]:
    """The loss, then the one it wraps, and so on inwards."""
    part: Loss | None = loss
    while part is not None:
        part = complete(Loss, part)
        yield part
        part = part.base


C = TypeVar("C")
_COMPLETED: dict[tuple[type, type], type] = {}


def complete(base: type[C], component: Any) -> C:
    """The component with the hooks that it leaves out, at the defaults of its slot's `base`. A function becomes an object."""
    if isinstance(component, base):
        return component
    if isinstance(component, FunctionType):
        names = {"__module__": component.__module__, "__call__": staticmethod(component)}
        return completed(base, type(component.__name__, (), names))()
    object.__setattr__(component, "__class__", completed(base, type(component)))
    return component


def completed(base: type, cls: type) -> Any:
    """The class with `base` below it, under its own name; itself where it inherits from it."""
    if issubclass(cls, base):
        return cls
    if (base, cls) not in _COMPLETED:
        names = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
        _COMPLETED[base, cls] = type(cls.__name__, (cls, base), names)
    return _COMPLETED[base, cls]


def replaces(component: Any, name: str) -> bool:
    """Has a component, or a class, its own hook of this name in place of the default?"""
    kind = component if isinstance(component, type) else type(component)
    own = [vars(one) for one in kind.__mro__ if one.__module__ != __name__]
    return any(name in names for names in (*own, {} if kind is component else vars(component)))
