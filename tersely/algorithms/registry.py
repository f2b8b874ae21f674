"""Plans, samplings, advantages, policies, filters, controllers, SFT losses: literal dicts, name -> class."""

from __future__ import annotations

from tersely.algorithms.adaptthink import AdaptThink
from tersely.algorithms.arm import ARM
from tersely.algorithms.autothink import AutoThink
from tersely.algorithms.batch_whitened import BatchWhitened
from tersely.algorithms.budgetthinker import BudgetThinker
from tersely.algorithms.clip import Clip
from tersely.algorithms.elastic import Elastic
from tersely.algorithms.filters import AnyRight, KeepAll, MixedGroups
from tersely.algorithms.gfpo import GFPO
from tersely.algorithms.group_mean import GroupMean
from tersely.algorithms.group_zscore import GroupZScore
from tersely.algorithms.grpo_lead import GRPOLead
from tersely.algorithms.hbpo import HBPO, HBPOPlan
from tersely.algorithms.identity import Identity
from tersely.algorithms.kl_penalty import KLPenalty
from tersely.algorithms.l1 import L1
from tersely.algorithms.lapo import LAPOTarget
from tersely.algorithms.plain import Plain
from tersely.algorithms.reference_baseline import ReferenceBaseline
from tersely.algorithms.rloo import RLOO
from tersely.algorithms.sampling import FixedSampling
from tersely.algorithms.selfbudgeter import SelfBudgeter
from tersely.algorithms.thinkprune import ThinkPrune

PLANS: dict[str, type] = {
    "adaptthink": AdaptThink,
    "arm": ARM,
    "autothink": AutoThink,
    "budgetthinker": BudgetThinker,
    "elastic": Elastic,
    "hbpo": HBPOPlan,
    "l1": L1,
    "lapo_target": LAPOTarget,
    "plain": Plain,
    "selfbudgeter": SelfBudgeter,
    "thinkprune": ThinkPrune,
}

SAMPLINGS: dict[str, type] = {
    "fixed": FixedSampling,
}

ADVANTAGES: dict[str, type] = {
    "batch_whitened": BatchWhitened,
    "gfpo": GFPO,
    "group_mean": GroupMean,
    "group_zscore": GroupZScore,
    "grpo_lead": GRPOLead,
    "hbpo": HBPO,
    "identity": Identity,
    "reference_baseline": ReferenceBaseline,
    "rloo": RLOO,
}

POLICIES: dict[str, type] = {
    "clip": Clip,
    "kl_penalty": KLPenalty,
}

FILTERS: dict[str, type] = {
    "any_right": AnyRight,
    "keep_all": KeepAll,
    "mixed_groups": MixedGroups,
}

CONTROLLERS: dict[str, type] = {}

SFT_LOSSES: dict[str, type] = {}
