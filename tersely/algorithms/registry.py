"""Plans, samplings, advantages, policies, filters, controllers, SFT losses: literal dicts, name -> class."""

from __future__ import annotations

from tersely.algorithms.batch_whitened import BatchWhitened
from tersely.algorithms.clip import Clip
from tersely.algorithms.filters import AnyRight, KeepAll, MixedGroups
from tersely.algorithms.group_mean import GroupMean
from tersely.algorithms.group_zscore import GroupZScore
from tersely.algorithms.plain import Plain
from tersely.algorithms.rloo import RLOO
from tersely.algorithms.sampling import FixedSampling

PLANS: dict[str, type] = {
    "plain": Plain,
}

SAMPLINGS: dict[str, type] = {
    "fixed": FixedSampling,
}

ADVANTAGES: dict[str, type] = {
    "batch_whitened": BatchWhitened,
    "group_mean": GroupMean,
    "group_zscore": GroupZScore,
    "rloo": RLOO,
}

POLICIES: dict[str, type] = {
    "clip": Clip,
}

FILTERS: dict[str, type] = {
    "any_right": AnyRight,
    "keep_all": KeepAll,
    "mixed_groups": MixedGroups,
}

CONTROLLERS: dict[str, type] = {}

SFT_LOSSES: dict[str, type] = {}
