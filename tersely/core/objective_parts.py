"""What components may read of the objective: the weighted sum of reward terms, and the slots.

The components are `Any`, because their base classes import this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from tersely.core.types import Rollouts


class Terms(Protocol):
    """A weighted sum of reward terms; implemented in `core/reward_sum.py`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def terms(self) -> tuple[Any, ...]: ...

    @property
    def weights(self) -> tuple[float, ...]: ...

    def unweighted(self, rollouts: Rollouts) -> Tensor:
        """(N, R), one column per term."""

    def with_terms(self, terms: Sequence[Any], weights: Sequence[float]) -> Terms:
        """The same sum with other terms and weights."""


class ObjectiveParts(Protocol):
    """The slots that `check_objective` receives."""

    @property
    def reward(self) -> Terms: ...

    @property
    def advantage(self) -> Any: ...
