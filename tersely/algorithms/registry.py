"""Plans, samplings, advantages, policies, filters, controllers, SFT losses: literal dicts, name -> class."""

from __future__ import annotations

from tersely.algorithms.accuracy_floor import AccuracyFloor
from tersely.algorithms.adaptthink import AdaptThink
from tersely.algorithms.archer import Archer
from tersely.algorithms.ares_kl import ARESKL
from tersely.algorithms.arm import ARM
from tersely.algorithms.autothink import AutoThink
from tersely.algorithms.bapo import BAPO
from tersely.algorithms.batch_whitened import BatchWhitened
from tersely.algorithms.budgetthinker import BudgetThinker
from tersely.algorithms.cispo import CISPO
from tersely.algorithms.clip import Clip
from tersely.algorithms.clip_cov import ClipCov
from tersely.algorithms.dcpo import DCPO
from tersely.algorithms.dcpo_smooth import DCPOSmooth
from tersely.algorithms.elastic import Elastic
from tersely.algorithms.entropy_clip import EntropyClip
from tersely.algorithms.entropy_sft import EntropySFT
from tersely.algorithms.entropy_shaped import EntropyShaped
from tersely.algorithms.entropy_target import EntropyTarget
from tersely.algorithms.filters import AccuracyRange, AnyRight, KeepAll, MixedGroups
from tersely.algorithms.gfpo import GFPO
from tersely.algorithms.gmpo import GMPO
from tersely.algorithms.group_mean import GroupMean
from tersely.algorithms.group_zscore import GroupZScore
from tersely.algorithms.grpo_lead import GRPOLead
from tersely.algorithms.grpo_s import GRPOS
from tersely.algorithms.gspo import GSPO
from tersely.algorithms.gtpo import GTPO
from tersely.algorithms.hapo import HAPO
from tersely.algorithms.hapo_temperature import HAPOTemperature
from tersely.algorithms.hbpo import HBPO, HBPOPlan
from tersely.algorithms.high_entropy_mask import HighEntropyMask
from tersely.algorithms.identity import Identity
from tersely.algorithms.kl_cov import KLCov
from tersely.algorithms.kl_penalty import KLPenalty
from tersely.algorithms.ktae import KTAE
from tersely.algorithms.l1 import L1
from tersely.algorithms.lapo import LAPOTarget
from tersely.algorithms.plain import Plain
from tersely.algorithms.quantile_baseline import QuantileBaseline
from tersely.algorithms.reference_baseline import ReferenceBaseline
from tersely.algorithms.rloo import RLOO
from tersely.algorithms.rlpr import RLPRFormat, RLPRStd
from tersely.algorithms.sampler_correction import SamplerCorrection
from tersely.algorithms.sampling import FixedSampling
from tersely.algorithms.sapo import SAPO
from tersely.algorithms.selfbudgeter import SelfBudgeter
from tersely.algorithms.talr import TALR
from tersely.algorithms.tea_rl import TEARL
from tersely.algorithms.thinkprune import ThinkPrune
from tersely.algorithms.token_level_group_average import TokenLevelGroupAverage
from tersely.algorithms.window_kl import WindowKL

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
    "rlpr": RLPRFormat,
    "selfbudgeter": SelfBudgeter,
    "thinkprune": ThinkPrune,
}

SAMPLINGS: dict[str, type] = {
    "fixed": FixedSampling,
    "hapo_temperature": HAPOTemperature,
}

ADVANTAGES: dict[str, type] = {
    "batch_whitened": BatchWhitened,
    "dcpo_smooth": DCPOSmooth,
    "entropy_shaped": EntropyShaped,
    "gfpo": GFPO,
    "group_mean": GroupMean,
    "group_zscore": GroupZScore,
    "grpo_lead": GRPOLead,
    "grpo_s": GRPOS,
    "gtpo": GTPO,
    "hbpo": HBPO,
    "identity": Identity,
    "ktae": KTAE,
    "quantile_baseline": QuantileBaseline,
    "reference_baseline": ReferenceBaseline,
    "rloo": RLOO,
    "token_level_group_average": TokenLevelGroupAverage,
}

POLICIES: dict[str, type] = {
    "archer": Archer,
    "bapo": BAPO,
    "cispo": CISPO,
    "clip": Clip,
    "clip_cov": ClipCov,
    "dcpo": DCPO,
    "gmpo": GMPO,
    "gspo": GSPO,
    "hapo": HAPO,
    "high_entropy_mask": HighEntropyMask,
    "kl_cov": KLCov,
    "kl_penalty": KLPenalty,
    "sampler_correction": SamplerCorrection,
    "sapo": SAPO,
    "tea_rl": TEARL,
    "window_kl": WindowKL,
}

FILTERS: dict[str, type] = {
    "accuracy_range": AccuracyRange,
    "any_right": AnyRight,
    "keep_all": KeepAll,
    "mixed_groups": MixedGroups,
    "rlpr_std": RLPRStd,
}

CONTROLLERS: dict[str, type] = {
    "accuracy_floor": AccuracyFloor,
    "ares_kl": ARESKL,
    "entropy_clip": EntropyClip,
    "entropy_target": EntropyTarget,
}

SFT_LOSSES: dict[str, type] = {
    "entropy_sft": EntropySFT,
    "talr": TALR,
}
