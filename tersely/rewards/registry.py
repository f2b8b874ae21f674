"""Every reward term by name."""

from __future__ import annotations

from tersely.rewards.alp import ALP
from tersely.rewards.correctness import Correctness
from tersely.rewards.format import Format
from tersely.rewards.soft_overlong import SoftOverlong
from tersely.rewards.truncation import Truncation

REWARDS: dict[str, type] = {
    "alp": ALP,
    "correctness": Correctness,
    "format": Format,
    "soft_overlong": SoftOverlong,
    "truncation": Truncation,
}
