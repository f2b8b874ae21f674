"""Registry of all slots except the reward: dicts, name -> class."""

from __future__ import annotations

from tersely.algorithms.advantages.batch_whitened import BatchWhitened
from tersely.algorithms.advantages.brpo import BRPO
from tersely.algorithms.advantages.dcpo_smooth import DCPOSmooth
from tersely.algorithms.advantages.entropy_shaped import EntropyShaped
from tersely.algorithms.advantages.gdpo import GDPO
from tersely.algorithms.advantages.gfpo import GFPO
from tersely.algorithms.advantages.group_mean import GroupMean
from tersely.algorithms.advantages.group_zscore import GroupZScore
from tersely.algorithms.advantages.grpo_lead import GRPOLeadAdvantage
from tersely.algorithms.advantages.grpo_s import GRPOS
from tersely.algorithms.advantages.gtpo import GTPO
from tersely.algorithms.advantages.hbpo import HBPOAdvantage
from tersely.algorithms.advantages.identity import Identity
from tersely.algorithms.advantages.ktae import KTAE
from tersely.algorithms.advantages.maxrl import MaxRL
from tersely.algorithms.advantages.opo import OPO
from tersely.algorithms.advantages.quantile_baseline import QuantileBaseline
from tersely.algorithms.advantages.reference_baseline import ReferenceBaseline
from tersely.algorithms.advantages.rloo import RLOO
from tersely.algorithms.advantages.sas import SAS
from tersely.algorithms.advantages.token_level_group_average import TokenLevelGroupAverage
from tersely.algorithms.controllers.accuracy_floor import AccuracyFloor
from tersely.algorithms.controllers.ares_kl import ARESKL
from tersely.algorithms.controllers.entropy_clip import EntropyClip
from tersely.algorithms.controllers.entropy_target import EntropyTarget
from tersely.algorithms.filters.rlpr import RLPRStd
from tersely.algorithms.filters.verdict import AccuracyRange, AnyRight, KeepAll, MixedGroups
from tersely.algorithms.losses.aligndistil import AlignDistil
from tersely.algorithms.losses.archer import Archer
from tersely.algorithms.losses.bapo import BAPO
from tersely.algorithms.losses.ce_gppo import CEGPPO
from tersely.algorithms.losses.cispo import CISPO
from tersely.algorithms.losses.clip import Clip
from tersely.algorithms.losses.clip_cov import ClipCov
from tersely.algorithms.losses.dcpo import DCPO
from tersely.algorithms.losses.dppo import DPPO
from tersely.algorithms.losses.gmpo import GMPO
from tersely.algorithms.losses.gspo import GSPO
from tersely.algorithms.losses.hapo import HAPO
from tersely.algorithms.losses.high_entropy_mask import HighEntropyMask
from tersely.algorithms.losses.kl_cov import KLCov
from tersely.algorithms.losses.kl_penalty import KLPenalty
from tersely.algorithms.losses.opsdc import OPSDC
from tersely.algorithms.losses.sampler_correction import SamplerCorrection
from tersely.algorithms.losses.sapo import SAPO
from tersely.algorithms.losses.tea_rl import TEARL
from tersely.algorithms.losses.window_kl import WindowKL
from tersely.algorithms.prompting.adaptthink import AdaptThinkPrompting
from tersely.algorithms.prompting.arm import ARMPrompting
from tersely.algorithms.prompting.autothink import AutoThinkPrompting
from tersely.algorithms.prompting.brpo import BRPOPrompting
from tersely.algorithms.prompting.budgetthinker import BudgetThinkerPrompting
from tersely.algorithms.prompting.elastic import Elastic
from tersely.algorithms.prompting.hbpo import HBPOPrompting
from tersely.algorithms.prompting.l1 import L1
from tersely.algorithms.prompting.lapo import LAPOTarget
from tersely.algorithms.prompting.plain import Plain
from tersely.algorithms.prompting.rlpr import RLPRFormat
from tersely.algorithms.prompting.s_grpo import SGRPOPrompting
from tersely.algorithms.prompting.selfbudgeter import SelfBudgeterPrompting
from tersely.algorithms.prompting.siri import SIRI
from tersely.algorithms.prompting.thinkprune import ThinkPrune
from tersely.algorithms.sampling.fixed import FixedSampling
from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
from tersely.algorithms.sft_losses.entropy_sft import EntropySFT
from tersely.algorithms.sft_losses.shad import SHAD
from tersely.algorithms.sft_losses.talr import TALR
from tersely.algorithms.trims.dot import DOT
from tersely.algorithms.trims.none import NoTrim

PROMPTING: dict[str, type] = {
    "adaptthink": AdaptThinkPrompting,
    "arm": ARMPrompting,
    "autothink": AutoThinkPrompting,
    "brpo": BRPOPrompting,
    "budgetthinker": BudgetThinkerPrompting,
    "elastic": Elastic,
    "hbpo": HBPOPrompting,
    "l1": L1,
    "lapo_target": LAPOTarget,
    "plain": Plain,
    "rlpr": RLPRFormat,
    "s_grpo": SGRPOPrompting,
    "selfbudgeter": SelfBudgeterPrompting,
    "siri": SIRI,
    "thinkprune": ThinkPrune,
}

SAMPLINGS: dict[str, type] = {
    "fixed": FixedSampling,
    "hapo_temperature": HAPOTemperature,
}

TRIMS: dict[str, type] = {
    "dot": DOT,
    "none": NoTrim,
}

ADVANTAGES: dict[str, type] = {
    "batch_whitened": BatchWhitened,
    "brpo": BRPO,
    "dcpo_smooth": DCPOSmooth,
    "entropy_shaped": EntropyShaped,
    "gdpo": GDPO,
    "gfpo": GFPO,
    "group_mean": GroupMean,
    "group_zscore": GroupZScore,
    "grpo_lead": GRPOLeadAdvantage,
    "grpo_s": GRPOS,
    "gtpo": GTPO,
    "hbpo": HBPOAdvantage,
    "identity": Identity,
    "ktae": KTAE,
    "maxrl": MaxRL,
    "opo": OPO,
    "quantile_baseline": QuantileBaseline,
    "reference_baseline": ReferenceBaseline,
    "rloo": RLOO,
    "sas": SAS,
    "token_level_group_average": TokenLevelGroupAverage,
}

LOSSES: dict[str, type] = {
    "aligndistil": AlignDistil,
    "archer": Archer,
    "bapo": BAPO,
    "ce_gppo": CEGPPO,
    "cispo": CISPO,
    "clip": Clip,
    "clip_cov": ClipCov,
    "dcpo": DCPO,
    "dppo": DPPO,
    "gmpo": GMPO,
    "gspo": GSPO,
    "hapo": HAPO,
    "high_entropy_mask": HighEntropyMask,
    "kl_cov": KLCov,
    "kl_penalty": KLPenalty,
    "opsdc": OPSDC,
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
    "shad": SHAD,
    "talr": TALR,
}
