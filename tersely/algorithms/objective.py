"""The objective: builds the slots and scores batches of rollouts.

trim (the trainer verifies the cut rows again), then filter -> reward -> advantage on whole groups (`score`), then
loss -> aggregate on micro-batches (the trainer)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersely.core.aggregate import AGGREGATES
from tersely.core.build import build
from tersely.core.errors import ConfigError, nearest, require_choice
from tersely.core.objective_parts import Terms
from tersely.core.present_tokens import sampled_tokens
from tersely.core.protocols import (
    Advantage,
    Component,
    Controller,
    Filter,
    Loss,
    Prompting,
    Sampling,
    Trim,
    loss_chain,
)
from tersely.core.reward_sum import RewardSum
from tersely.core.types import Rollouts, Teacher, columns_in

SLOT_DEFAULTS: dict[str, Any] = {
    "prompting": "plain",
    "sampling": "fixed",
    "trim": "none",
    "reward": "correctness",
    "advantage": "group_zscore",
    "loss": "clip",
    "filter": "keep_all",
    "aggregate": "token",
    "controllers": [],
}


@dataclass(frozen=True)
class Scores:
    """Rewards and advantages of a batch of rollouts."""

    columns: Tensor
    """(N, R) unweighted, one column per reward term."""
    weights: Tensor
    """(R,)."""
    reward: Tensor
    """(N,) the weighted sum, nan where undecided."""
    advantage: Tensor
    """(N,) or (N, T), 0 for rows that are not trained on."""
    keep: Tensor
    """(P,) bool: the groups to train on."""
    masked: Tensor | None = None
    """(N,) bool: rows that are left out of the loss only."""


@dataclass(frozen=True)
class Objective:
    prompting: Prompting
    sampling: Sampling
    trim: Trim
    reward: RewardSum
    advantage: Advantage
    loss: Loss
    filter: Filter
    aggregate: str
    controllers: tuple[Controller, ...] = ()

    @classmethod
    def from_specs(cls, specs: Mapping[str, Any]) -> Objective:
        """Build every slot; a missing one gets its default."""
        for key in specs:
            if key not in SLOT_DEFAULTS:
                raise ConfigError(f"unknown slot {key!r}; {nearest(key, SLOT_DEFAULTS)}")
        filled = {**SLOT_DEFAULTS, **{key: value for key, value in specs.items() if value is not None}}
        require_choice("aggregate", filled["aggregate"], AGGREGATES)
        terms = filled["reward"]
        return cls(
            prompting=build("prompting", filled["prompting"]),
            sampling=build("sampling", filled["sampling"]),
            trim=build("trim", filled["trim"]),
            reward=build("reward", list(terms) if isinstance(terms, list | tuple) else [terms]),
            advantage=build("advantage", filled["advantage"]),
            loss=build("loss", filled["loss"]),
            filter=build("filter", filled["filter"]),
            aggregate=filled["aggregate"],
            controllers=tuple(build("controller", spec) for spec in filled["controllers"]),
        )

    def __post_init__(self) -> None:
        self.advantage.check_objective(self)
        for controller in self.controllers:
            controller.check_objective(self)

    @property
    def _components(self) -> dict[str, Component]:
        names = ("prompting", "sampling", "trim", "reward", "advantage", "loss", "filter")
        return {name: getattr(self, name) for name in names}

    @property
    def needs(self) -> set[str]:
        """Optional fields of `Rollouts` that any component needs."""
        components = [*self._components.values(), *loss_chain(self.loss)]
        return {need for component in components for need in component.needs}

    @property
    def columns(self) -> list[str]:
        """Columns of the dataset that any component needs."""
        return columns_in(self.needs)

    def loss_in_force(self) -> Loss:
        """The loss with the parameters that the controllers set."""
        loss_fn = self.loss
        for controller in self.controllers:
            loss_fn = controller.apply(loss_fn)
        return loss_fn

    def reward_in_force(self) -> Terms:
        """The reward with the weights that the controllers set."""
        reward: Terms = self.reward
        for controller in self.controllers:
            reward = controller.apply_reward(reward)
        return reward

    def score(self, rollouts: Rollouts, masked: Tensor | None = None) -> Scores:
        """Filter, reward and advantage of whole groups. The advantage gets only the groups that the filter keeps.

        masked: (N,) bool, rows that do not train."""
        keep = self.filter(rollouts)
        self._show_entropies(rollouts, keep, masked)
        terms = self.reward_in_force()
        columns = terms.unweighted(rollouts)
        weights = torch.tensor(terms.weights)
        reward = (columns * weights).sum(1)
        values, more = (columns, (weights,)) if self.advantage.per_term else (reward, ())
        if bool(keep.all()):
            advantage = self.advantage(values, rollouts, *more)
        else:
            advantage = self._advantage_of_kept(values, more, rollouts, keep)
        return Scores(columns, weights, reward, advantage, keep, masked)

    def _show_entropies(self, rollouts: Rollouts, keep: Tensor, masked: Tensor | None) -> None:
        """Pass statistics of the whole step to a loss that needs them: over the trained tokens of all ranks."""
        for loss_fn in loss_chain(self.loss):
            if loss_fn.needs_step_entropy:
                entropy = rollouts.require("entropy", type(loss_fn).__name__)
                rows = keep.repeat_interleave(rollouts.group_size)
                rows = (rows if masked is None else rows & ~masked).unsqueeze(1)
                loss_fn.observe_step(entropy, sampled_tokens(rollouts, entropy.shape[1]) & rows)

    def _advantage_of_kept(
        self, values: Tensor, weights: tuple[Tensor, ...], rollouts: Rollouts, keep: Tensor
    ) -> Tensor:
        rows = keep.repeat_interleave(rollouts.group_size)
        if not rows.any():
            return torch.zeros(len(rows))
        kept = self.advantage(values[rows], take_rows(rollouts, rows), *weights)
        advantage = kept.new_zeros((len(rows), *kept.shape[1:]))
        advantage[rows] = kept
        return advantage

    def update(self, rollouts: Rollouts, everything: Rollouts | None = None) -> None:
        """Update stateful components with the unfiltered groups; once per generation batch, after `score`.

        everything: includes the groups that resampling replaced. They did not go through the trainer and have no optional
        fields, so a component with `needs` gets `rollouts` instead.
        """
        others = [component for name, component in self._components.items() if name != "reward"]
        for component in (*others, *self.reward.terms):
            component.update(rollouts if component.needs or everything is None else everything)

    def state_dict(self) -> dict[str, Any]:
        states = {name: component.state_dict() for name, component in self._components.items()}
        return {
            **{name: state for name, state in states.items() if state},
            "kinds": self._kinds(),
            "controllers": [controller.state_dict() for controller in self.controllers],
        }

    def _kinds(self) -> dict[str, Any]:
        """Component names per slot; a later stage takes over state where they agree."""
        kinds: dict[str, Any] = {name: type(component).__name__ for name, component in self._components.items()}
        kinds["reward"] = [type(term).__name__ for term in self.reward.terms]
        return {**kinds, "controllers": [type(controller).__name__ for controller in self.controllers]}

    def carry_over(self, state: Mapping[str, Any]) -> None:
        """Load the state of an earlier stage into every component of the same kind."""
        left, kinds = state.get("kinds", {}), self._kinds()
        for name, component in self._components.items():
            if name in state and left.get(name) == kinds[name]:
                component.load_state_dict(state[name])
        if left.get("controllers") == kinds["controllers"]:
            for controller, saved in zip(self.controllers, state["controllers"], strict=True):
                controller.load_state_dict(saved)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, component in self._components.items():
            component.load_state_dict(state.get(name, {}))
        for controller, saved in zip(self.controllers, state["controllers"], strict=True):
            controller.load_state_dict(saved)


def reads_reference(objective: Objective) -> bool:
    """True if a part of the loss needs `ref_logp`."""
    return any(part.needs_ref_logp for part in loss_chain(objective.loss))


def needs_reference(objective: Objective) -> bool:
    """True if the loss needs a reference model: for `ref_logp`, or as a teacher."""
    return reads_reference(objective) or any(teacher.model is None for teacher in teachers_of(objective))


def teachers_of(objective: Objective) -> tuple[Teacher, ...]:
    """All teachers of the loss."""
    return tuple(teacher for part in loss_chain(objective.loss) for teacher in part.teachers)


def take_rows(rollouts: Rollouts, rows: Tensor) -> Rollouts:
    """The rollouts of the whole groups selected by (N,) bool `rows`."""
    return rollouts.at(rows.nonzero().flatten().tolist())
