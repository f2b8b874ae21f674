"""Checks of pairs across slots and run settings: pairs that cannot work raise, pairs that work against each other warn."""

from __future__ import annotations

import copy

from tersely.algorithms.advantages.maxrl import MaxRL
from tersely.algorithms.checks import MIXED, made_up_group
from tersely.algorithms.filters.verdict import KeepAll
from tersely.algorithms.objective import Objective
from tersely.algorithms.prompting.siri import SIRI
from tersely.algorithms.trims.none import NoTrim
from tersely.configs.recipe import Recipe
from tersely.core.findings import Finding
from tersely.core.protocols import Reward
from tersely.rewards.adlp import ADLP
from tersely.rewards.alp import ALP
from tersely.rewards.grpo_lead import GRPOLead
from tersely.rewards.short_rl import ShortRL
from tersely.rewards.soft_overlong import SoftOverlong
from tersely.rewards.truncation import Truncation


def check_pairs(run: Recipe, objective: Objective, max_length: int) -> list[Finding]:
    """Warnings. Raises `ConfigError` for a trim that can cut nothing, or a cap above `max_length` (tokens)."""
    objective.trim.check_group_size(run.group_size)
    objective.prompting.check_cap(max_length)
    return [
        *_trim(run, objective),
        *_replacing(run, objective),
        *_moving_cap(objective),
        *_masked(run, objective),
        *_rewards(objective, max_length),
    ]


def _trim(run: Recipe, objective: Objective) -> list[Finding]:
    if isinstance(objective.trim, NoTrim):
        return []
    homogeneous = made_up_group((1.0,) * run.group_size)
    if bool(objective.filter(homogeneous).any()):
        text = "groups that are all correct after the cut are kept, and without a length term they train nothing"
        return [Finding("warn", "trim", text, "use filter mixed_groups with max_oversampling or max_resample_rounds")]
    if run.max_resample_rounds == 0 and run.max_oversampling == 1:
        text = "groups without a broken row are filtered and not replaced, so few groups may train"
        return [Finding("warn", "trim", text, "set max_oversampling above 1, or max_resample_rounds to at least 1")]
    return []


def _replacing(run: Recipe, objective: Objective) -> list[Finding]:
    """Settings that replace filtered groups, with a filter that drops none."""
    if not isinstance(objective.filter, KeepAll):
        return []
    text = "filter keep_all drops no group, so none is replaced"
    found = {"max_oversampling": run.max_oversampling > 1, "max_resample_rounds": run.max_resample_rounds > 0}
    return [Finding("warn", key, text, f"use another filter, or remove {key}") for key, on in found.items() if on]


def _moving_cap(objective: Objective) -> list[Finding]:
    if not isinstance(objective.prompting, SIRI):
        return []
    blind: list[Reward] = [term for term in objective.reward.terms if isinstance(term, SoftOverlong)]
    blind += [term for term in objective.reward.terms if isinstance(term, ALP) and term.normalizer == "max_length"]
    found = [
        Finding(
            "warn",
            "prompting siri",
            f"reward {type(term).__name__} compares lengths with the run's cap, not with the cap of the cycle",
            "remove the term",
        )
        for term in blind
    ]
    gates = [type(term).__name__ for term in objective.reward.terms if isinstance(term, ShortRL | ADLP)]
    gates += [type(one).__name__ for one in objective.controllers if type(one).__name__ == "AccuracyFloor"]
    found += [
        Finding("warn", "prompting siri", f"{name} reads accuracy, which moves with the cap of the cycle", "remove it")
        for name in gates
    ]
    return found


def _masked(run: Recipe, objective: Objective) -> list[Finding]:
    terms = [term for term in objective.reward.terms if isinstance(term, SoftOverlong | Truncation)]
    if not run.mask_truncated or not terms:
        return []
    text = f"truncated rows do not train, so reward {type(terms[0]).__name__} has little effect on them"
    return [Finding("warn", "mask_truncated", text, "use one of the two")]


def _rewards(objective: Objective, max_length: int) -> list[Finding]:
    found = [
        Finding(
            "warn",
            "reward grpo_lead",
            f"gate: got {term.gate}; the cap is {max_length}, so no group is long enough for its length term",
            "lower gate, or set 0",
        )
        for term in objective.reward.terms
        if isinstance(term, GRPOLead) and term.gate >= max_length
    ]
    if isinstance(objective.advantage, MaxRL) and _can_be_negative(objective):
        text = "it divides by the mean reward, and this reward can be negative"
        found.append(Finding("warn", "advantage maxrl", text, "use rewards of at least 0"))
    return found


def _can_be_negative(objective: Objective) -> bool:
    try:
        return bool((copy.deepcopy(objective.reward)(made_up_group(MIXED)) < 0).any())
    except Exception:  # external code can raise anything, and a term may need more than a synthetic group
        return False
