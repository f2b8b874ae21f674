"""Every length term against a second implementation: one group at a time, plain Python floats, from the formulas."""

from __future__ import annotations

import math
import random
import statistics as st

import pytest
import torch

from tersely.core.build import build
from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts

NAN = math.nan
MODES = {"autothink": ["think", "no_think"], "adaptthink": ["think", "no_think"], "thinkless": ["short", "think"]}
MODES["arm"] = ["direct", "short_cot", "code", "long_cot"]


def percentile(x, q):
    x = sorted(x)
    at = q / 100 * (len(x) - 1)
    low = math.floor(at)
    return x[low] + (at - low) * (x[min(low + 1, len(x) - 1)] - x[low])


def sd(x, sample):
    return 0.0 if len(x) < 2 else (st.stdev(x) if sample else st.pstdev(x))


class Group:
    """The decided rows of one group."""

    def __init__(self, rows, cap, t, record, share_think):
        self.rows, self.cap, self.t, self.record, self.share_think = rows, cap, t, record, share_think
        self.K = len(rows)
        self.C = [r["L"] for r in rows if r["c"]]
        self.p = len(self.C) / self.K
        self.lengths = [r["L"] for r in rows]


def alp(g, r, beta=1e-7, normalizer=1.0, floor=None):
    n = {"max_length": g.cap, "group_max": max(g.lengths)}.get(normalizer, normalizer)
    return r["c"] - beta * max(g.p, 1 / g.K if floor is None else floor) * r["L"] / n


def kimi(g, r, weight=1.0):
    span = max(g.lengths) - min(g.lengths)
    lam = 0.5 - (r["L"] - min(g.lengths)) / span if span else 0.0
    return weight * (lam if r["c"] else min(0, lam))


def lapo_discovery(g, r, form="paper", alpha=0.7, falloff=100):
    if not r["c"]:
        return 0.0
    low, high = percentile(g.C, 30), percentile(g.C, 70)
    if form == "released" and not low < high:
        return 1.0
    inside = low <= r["L"] <= high
    return 1 + alpha * (1 if inside else max(0, 1 - min(abs(r["L"] - low), abs(r["L"] - high)) / falloff))


def lapo_internalization(g, r, form="paper", beta=0.8, sigma=120, unsolved=4096):
    n = r["b"]
    if not r["c"] or math.isnan(n):
        return float(r["c"])
    if form == "released" and n == unsolved:
        n = st.median(g.C)
    return 1 + beta * math.exp(-((r["L"] - n) ** 2) / (2 * sigma**2))


def hbpo(g, r, form="paper", beta=4.0):
    b = g.cap if math.isnan(r["b"]) else r["b"]
    if not r["w"]:
        return 0.0 if form == "paper" else -1.0
    if not r["c"] or r["L"] > g.cap:
        return 0.0
    f1 = beta * math.cos(math.pi * r["L"] / (2 * g.cap)) - abs(r["L"] - b) / g.cap
    f2 = beta * math.cos(math.pi * b / (2 * g.cap))
    return f1 if r["L"] > b else (f2 if form == "paper" else min(f1, f2))


def selfbudgeter(g, r):
    b, L = r["b"], r["L"]
    if not r["w"] or math.isnan(b) or b <= 0:
        return -1.0
    a = 6.0 * (1 - g.t) + 0.1 * g.t
    low, high = (0.5, 1.0) if r["c"] else (-0.5, 0.0)
    best = (1 - a) * b if r["c"] else (1 + a) * b
    over = -0.4 if b > g.record.get("budget_max", math.inf) else 0.0
    if abs(L - b) / b > a:
        return over + low
    return over + low + (high - low) * (1 + math.cos(math.pi * abs(L - best) / (2 * a * b))) / 2


def autothink(g, r, stage=1):
    if not r["w"]:
        return 0.0
    think = r["m"] == "think"
    base = (1 if r["c"] else 0) if think else (2 if r["c"] else -1)
    if stage == 2:
        return base
    if stage == 1:
        z = g.share_think
        d = min(max(((z if think else 1 - z) - 0.5) * 2, 0), 1)
        return (1 - d) * base + d * ((0 if r["c"] else -1) if think else (1 if r["c"] else -2))
    peers = [q["L"] for q in g.rows if q["c"] == r["c"] and q["w"]]
    y = (r["L"] - st.mean(peers)) / sd(peers, True) if sd(peers, True) else 0.0
    return base - 1 + math.exp(-0.05 * y) if r["c"] else base + 1 - math.exp(-0.05 * y)


def arm(g, r):
    f = sum(q["m"] == r["m"] for q in g.rows)
    decay = f / g.K + (1 - f / g.K) * (1 + math.cos(math.pi * g.t)) / 2
    return g.K / f * decay if r["c"] and r["w"] else 0.0


def l1_exact(g, r):
    return r["c"] if math.isnan(r["b"]) else r["c"] - 3e-4 * abs(r["b"] - r["L"])


def l1_max(g, r, form="paper"):
    x = 3e-4 * (r["b"] - r["L"])
    if math.isnan(x):
        return r["c"]
    return r["c"] * (min(max(x + 0.5, 0), 1) if form == "paper" else (min(max(x, -1), 1) + 1) / 2)


def arora_zanette(g, r, alpha=0.1, truncated_is_wrong=True):
    counted = [q["L"] for q in g.rows if q["c"] and not (truncated_is_wrong and q["t"])]
    if not r["c"] or (truncated_is_wrong and r["t"]):
        return 0.0
    return 1 - alpha / (1 + math.exp(-(r["L"] - st.mean(counted)) / (sd(counted, False) + 1e-7)))


def o1_pruner(g, r, form="paper"):
    length = g.record.get("reference_length", st.mean(g.lengths))
    value = length / max(r["L"], 1) - 1 + 5 * (r["c"] - g.record.get("reference_accuracy", g.p))
    return value if form == "paper" else min(max(value, -2), 4)


def dast(g, r):
    b = g.p * st.mean(g.C) + (1 - g.p) * g.cap if g.C else g.cap
    x = (r["L"] - b) / b
    return max(0.5 * (1 - x), 0.1) if r["c"] else min(0.9 * x - 0.1, -0.1)


def truncation(g, r, limit=None):
    return float(r["c"] and not r["t"] and r["L"] <= (limit or g.cap))


def da_dler(g, r):
    rate = sum(truncation(g, q, 4000) for q in g.rows) / g.K
    return truncation(g, r, 2000 if rate >= 0.5 else 4000)


def cosine(g, r):
    if r["L"] + 16 >= g.cap:
        return -10.0
    short, long = (2, 1) if r["c"] else (-10, 0)
    return long + (short - long) * (1 + math.cos(math.pi * r["L"] / g.cap)) / 2


def shorterbetter(g, r):
    return 2 * r["c"] - 0.001 * abs(r["L"] - (min(g.C) if g.C else st.mean(g.lengths)))


def laser(g, r, target=4096):
    return (1 + 0.5 * (r["L"] <= target) if r["c"] else -0.5) if r["w"] else -1.0


def laser_de(g, r):
    explored = not r["c"] and r["w"] and r["L"] > 2000 and not r["t"]
    return laser(g, r, 2000) + 0.5 * explored


def adaptthink(g, r):
    return r["c"] + 0.05 * (r["m"] == "no_think")


def thinkless(g, r):
    return ((1.0 if r["m"] == "short" else 0.5) if r["c"] else -1.0) if r["w"] else -1.0


def leash(g, r):
    return min(max(r["c"] - 0.7 * max(0, r["L"] / 1500 - 1), -1), 1)


def grpo_lead(g, r, gate=4000):
    if not r["c"]:
        return -1.0
    acts = len(g.lengths) < 3 or st.mean(sorted(g.lengths)[:3]) > gate
    return math.exp(-0.05 * (r["L"] - st.mean(g.C)) / (sd(g.C, True) + 1e-6)) if acts else 1.0


def concise_rl(g, r):
    return (1.0 if r["c"] else -0.5) if r["w"] else -1.0


def budgetthinker(g, r, form="paper"):
    b, L = r["b"], r["L"]
    x = 0.0 if math.isnan(b) else max(1 - (1 if b >= L else 16) * ((b - L) / b) ** 2, 0)
    if form == "released" and r["c"] and b >= L:
        x = 1.0
    return 0.7 * r["c"] + 0.15 * r["w"] + 0.15 * x


def gr3(g, r):
    return r["c"] / (1 + 0.33 * r["L"] / st.mean(g.lengths))


def grpo_lambda(g, r):
    return arora_zanette(g, r, 0.2, False) if g.p >= 0.75 else r["c"]


def acoer(g, r):
    if not r["c"]:
        return 0.0
    return 1 + 0.02 * math.log(1 + 5 * (1 - min(r["L"] / 4096, 1))) / math.log(6)


def hapo_history(g, r):
    h = g.record.get("shortest")
    if h is None:
        return 0.0
    f = math.cos(min(math.pi / 2 * r["L"] / h, math.pi))
    return max(f, -0.7) if r["c"] else min(f, 0)


def adlp(g, r):
    return r["c"] - 1e-3 * r["L"]


CASES = [
    ({}, alp), ({"beta": 0.2, "normalizer": "max_length"}, lambda g, r: alp(g, r, 0.2, "max_length")),
    ({"beta": 0.3, "normalizer": "group_max", "solve_rate_floor": 0.1}, lambda g, r: alp(g, r, 0.3, "group_max", 0.1)),
    ({}, lapo_discovery), ({"form": "released"}, lambda g, r: lapo_discovery(g, r, "released")),
    ({}, lapo_internalization), ({"form": "released"}, lambda g, r: lapo_internalization(g, r, "released")),
    ({}, hbpo), ({"form": "released"}, lambda g, r: hbpo(g, r, "released")), ({}, selfbudgeter), ({}, autothink),
    ({"stage": 2}, lambda g, r: autothink(g, r, 2)), ({"stage": 3}, lambda g, r: autothink(g, r, 3)), ({}, arm),
    ({}, l1_exact), ({}, l1_max), ({"form": "released"}, lambda g, r: l1_max(g, r, "released")), ({}, arora_zanette),
    ({"alpha": 0.4, "truncated_is_wrong": False}, lambda g, r: arora_zanette(g, r, 0.4, False)), ({}, o1_pruner),
    ({"form": "released"}, lambda g, r: o1_pruner(g, r, "released")), ({}, dast), ({}, truncation), ({}, da_dler),
    ({}, cosine), ({}, shorterbetter), ({}, laser), ({"initial_target": 2000}, laser_de), ({}, adaptthink),
    ({}, thinkless), ({}, adlp), ({"penalty": 0.7, "target_length": 1500}, leash), ({}, grpo_lead),
    ({"gate": 900}, lambda g, r: grpo_lead(g, r, 900)), ({}, concise_rl),
    ({}, budgetthinker), ({"form": "released"}, lambda g, r: budgetthinker(g, r, "released")), ({}, gr3),
    ({}, grpo_lambda), ({"counts": "all"}, acoer), ({}, kimi), ({}, hapo_history),
]  # fmt: skip


def named(case):
    parameters, reference = case
    name = reference.__name__
    if name == "<lambda>":
        name = reference.__code__.co_names[0]
    return {"name": name, **parameters}, reference


def sample(name, group_size, prompts, seed):
    """Rows of random groups with undecided, malformed and truncated rows, ties, and rows without a budget."""
    rng = random.Random(seed)
    n = group_size * prompts
    cap = 4096
    rows = []
    for i in range(n):
        hardness = (i // group_size % 4) / 3
        length = rng.choice([1, 500, 2000, cap, rng.randint(1, cap), rng.randint(1, cap)])
        rows.append(
            {
                "L": length,
                "c": rng.choice([None, *[rng.random() > hardness] * 5]),
                "t": length == cap and rng.random() < 0.7,
                "w": rng.random() < 0.85,
                "b": rng.choice([NAN, 512.0, 1024.0, 2000.0, 4096.0, float(rng.randint(1, cap))]),
                "m": rng.choice(MODES.get(name, ["a", "b"])),
            }
        )
    ids = [f"q{i // group_size}" for i in range(n)]
    fields = {"shortest": 900, "reference_length": 1700, "reference_accuracy": 0.4, "budget_max": 1500}
    records = {f"q{i}": {k: v for k, v in fields.items() if rng.random() < 0.7} for i in range(0, prompts, 2)}
    return rows, ids, records, cap, rng.random()


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{named(case)[0]['name']}" for i, case in enumerate(CASES)])
@pytest.mark.parametrize("group_size", [1, 2, 5, 16])
def test_term_equals_the_plain_python_formula(case, group_size):
    spec, reference = named(case)
    for seed in range(3):
        rows, ids, records, cap, t = sample(spec["name"], group_size, 12, seed)
        decided = [r for r in rows if r["c"] is not None]
        share = sum(r["m"] == "think" for r in decided) / max(len(decided), 1)
        data = Rollouts(
            group_size=group_size,
            prompt_id=ids,
            correct=torch.tensor([NAN if r["c"] is None else float(r["c"]) for r in rows]),
            length=torch.tensor([r["L"] for r in rows]),
            truncated=torch.tensor([r["t"] for r in rows]),
            max_length=cap,
            progress=t,
            well_formed=torch.tensor([r["w"] for r in rows]),
            budget=torch.tensor([r["b"] for r in rows]),
            mode=[r["m"] for r in rows],
            memory=PromptMemory(records),
        )
        expected = []
        for start in range(0, len(rows), group_size):
            group_rows = rows[start : start + group_size]
            known = [{**r, "c": int(r["c"])} for r in group_rows if r["c"] is not None]
            group = Group(known, cap, t, records.get(ids[start], {}), share) if known else None
            expected += [NAN if r["c"] is None else reference(group, {**r, "c": int(r["c"])}) for r in group_rows]
        got = build("reward", spec)(data)
        assert got.dtype == torch.float32
        assert got.tolist() == pytest.approx(expected, abs=1e-5, rel=1e-6, nan_ok=True)
