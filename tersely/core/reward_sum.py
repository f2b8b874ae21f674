"""The reward of a run as a weighted sum of terms.

    r_i = sum over terms of weight_term * term(rollouts)_i

Symbols: weights have no unit. nan (undecided) in any term is nan in the sum. A sum in which two terms contain the
outcome counts it twice; that is allowed, with a warning.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tersely.core.errors import ConfigError
from tersely.core.protocols import Reward, complete
from tersely.core.types import Rollouts


@dataclass(frozen=True)
class RewardSum(Reward):
    names: tuple[str, ...]
    terms: tuple[Reward, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(complete(Reward, term) for term in self.terms))
        whole = [name for name, term in zip(self.names, self.terms, strict=True) if term.includes_outcome]
        if len(whole) > 1:
            warnings.warn(
                f"reward terms {', '.join(whole)} each contain the outcome, so the sum counts it {len(whole)} times; "
                "remove all but one of them, or keep only the additive terms",
                stacklevel=3,
            )

    @property
    def includes_outcome(self) -> bool:
        return any(term.includes_outcome for term in self.terms)

    @property
    def scope(self) -> str:
        return "batch" if any(term.scope == "batch" for term in self.terms) else "group"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need for term in self.terms for need in term.needs))

    def with_terms(self, terms: Sequence[Reward], weights: Sequence[float]) -> RewardSum:
        return replace(self, terms=tuple(terms), weights=tuple(weights))

    def unweighted(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one column per term."""
        return torch.stack(
            [checked(name, term(rollouts), rollouts) for name, term in zip(self.names, self.terms, strict=True)], dim=1
        )

    def columns(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one weighted column per term."""
        return self.unweighted(rollouts) * torch.tensor(self.weights)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return self.columns(rollouts).sum(1)

    def measured(self, rollouts: Rollouts) -> dict[str, float]:
        return {name: value for term in self.terms for name, value in term.measured(rollouts).items()}

    def update(self, rollouts: Rollouts) -> None:
        for term in self.terms:
            term.update(rollouts)

    def state_dict(self) -> dict[str, Any]:
        states = {str(i): term.state_dict() for i, term in enumerate(self.terms)}
        return {place: state for place, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, term in enumerate(self.terms):
            term.load_state_dict(state.get(str(i), {}))


def checked(name: str, values: Any, rollouts: Rollouts) -> Tensor:
    """Check a term's return value; raises `ConfigError` unless it is one finite number per decided rollout."""
    rows = len(rollouts.correct)
    wanted = f"expected a float tensor of shape ({rows},), one value per rollout, such as rollouts.correct - penalty"
    if not isinstance(values, Tensor):
        if inspect.iscoroutine(values):
            values.close()
        raise ConfigError(f"reward {name} returned {_kind(values)}; {wanted}")
    if values.layout != torch.strided or values.is_meta:
        raise ConfigError(
            f"reward {name}: got a tensor without plain values ({values.layout}, {values.device}); {wanted}"
        )
    if values.shape != (rows,) or not values.is_floating_point() or values.element_size() < 2:
        raise ConfigError(f"reward {name}: got a {values.dtype} tensor of shape {tuple(values.shape)}; {wanted}")
    if bool(values.isinf().any()):
        raise ConfigError(
            f"reward {name}: got an infinite value for {int(values.isinf().sum())} of {rows} rollouts; expected finite values"
        )
    decided = rollouts.decided.to(values.device)
    if bool(decided.any()) and bool(values[decided].isnan().all()):
        raise ConfigError(
            f"reward {name}: got nan for all {int(decided.sum())} rollouts with a verdict, so nothing would train; expected "
            "nan only for undecided rollouts (verdict nan)"
        )
    return values.detach()  # a reward is a number; its autograd graph would be kept for the whole batch


def _kind(values: Any) -> str:
    if inspect.iscoroutine(values):
        return "a coroutine (its __call__ is `async`)"
    if values is None or isinstance(values, bool | int | float):
        return f"{type(values).__name__} {values}" if values is not None else "None"
    return f"a {type(values).__name__}" + (f" of {len(values)} values" if isinstance(values, list | tuple) else "")
