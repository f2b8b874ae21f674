"""Registry of the reward terms: a dict, name -> class."""

from __future__ import annotations

from tersely.rewards.acoer import Acoer
from tersely.rewards.adaptthink import AdaptThink
from tersely.rewards.adlp import ADLP
from tersely.rewards.alp import ALP
from tersely.rewards.ares_entropy import ARESEntropy
from tersely.rewards.arlcp import ARLCP
from tersely.rewards.arm import ARM
from tersely.rewards.arora_zanette import AroraZanette
from tersely.rewards.autothink import AutoThink
from tersely.rewards.budgetthinker import BudgetThinker
from tersely.rewards.concise_rl import ConciseRL
from tersely.rewards.correctness import Correctness
from tersely.rewards.cosine import Cosine
from tersely.rewards.da_dler import DADLER
from tersely.rewards.dast import DAST
from tersely.rewards.etr import ETR
from tersely.rewards.format import Format
from tersely.rewards.gr3 import GR3
from tersely.rewards.grpo_lambda import GRPOLambda
from tersely.rewards.grpo_lead import GRPOLead
from tersely.rewards.hapo_history import HAPOHistory
from tersely.rewards.hbpo import HBPO
from tersely.rewards.kimi import Kimi
from tersely.rewards.l1 import L1Exact, L1Max
from tersely.rewards.lapo import LAPODiscovery, LAPOInternalization
from tersely.rewards.laser import LASER
from tersely.rewards.laser_d import LASERD, LASERDE
from tersely.rewards.leash import LEASH
from tersely.rewards.o1_pruner import O1Pruner
from tersely.rewards.pear import PEAR
from tersely.rewards.repetition import Repetition
from tersely.rewards.rlpr import RLPR
from tersely.rewards.s_grpo import SGRPO
from tersely.rewards.selfbudgeter import SelfBudgeter
from tersely.rewards.short_rl import ShortRL
from tersely.rewards.shorterbetter import ShorterBetter
from tersely.rewards.soft_overlong import SoftOverlong
from tersely.rewards.thinkless import Thinkless
from tersely.rewards.truncation import Truncation
from tersely.rewards.verifree import VeriFree

REWARDS: dict[str, type] = {
    "acoer": Acoer,
    "adaptthink": AdaptThink,
    "adlp": ADLP,
    "alp": ALP,
    "ares_entropy": ARESEntropy,
    "arlcp": ARLCP,
    "arm": ARM,
    "arora_zanette": AroraZanette,
    "autothink": AutoThink,
    "budgetthinker": BudgetThinker,
    "concise_rl": ConciseRL,
    "correctness": Correctness,
    "cosine": Cosine,
    "da_dler": DADLER,
    "dast": DAST,
    "etr": ETR,
    "format": Format,
    "gr3": GR3,
    "grpo_lambda": GRPOLambda,
    "grpo_lead": GRPOLead,
    "hapo_history": HAPOHistory,
    "hbpo": HBPO,
    "kimi": Kimi,
    "l1_exact": L1Exact,
    "l1_max": L1Max,
    "lapo_discovery": LAPODiscovery,
    "lapo_internalization": LAPOInternalization,
    "laser": LASER,
    "laser_d": LASERD,
    "laser_de": LASERDE,
    "leash": LEASH,
    "o1_pruner": O1Pruner,
    "pear": PEAR,
    "repetition": Repetition,
    "rlpr": RLPR,
    "s_grpo": SGRPO,
    "selfbudgeter": SelfBudgeter,
    "short_rl": ShortRL,
    "shorterbetter": ShorterBetter,
    "soft_overlong": SoftOverlong,
    "thinkless": Thinkless,
    "truncation": Truncation,
    "verifree": VeriFree,
}
