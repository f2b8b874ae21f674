"""The entropy and KL controllers over many steps against their recurrences, through a save and a load."""

from __future__ import annotations

import json
import math
import random

import pytest

from tersely import build


def entropy_target(seen, target=0.2, initial=0.0, delta=1e-4, maximum=5e-3):
    c = initial
    for entropy in seen:
        low = entropy < target
        c = min(max(c + delta if low else c - delta, 0.0), maximum)
        yield c if low else 0.0


def entropy_clip(seen, target=0.3, step=0.25, maximum=2.5):
    k = 0.0
    for entropy in seen:
        k = min(max(k + step * ((target > entropy) - (target < entropy)), 0.0), maximum)
        yield k


def ares_kl(seen, target=0.01, ema=0.97, error_ema=0.97, step=0.05, every=100, dead_zone=0.02, maximum=1e2):
    kl = error = None
    beta = 1.0
    for count, value in enumerate(seen, 1):
        kl = value if kl is None else ema * kl + (1 - ema) * value
        gap = kl / target - 1
        gap = 0.0 if abs(gap) < dead_zone else min(max(gap, -0.2), 0.2)
        error = gap if error is None else error_ema * error + (1 - error_ema) * gap
        if count % every == 0:
            beta = min(max(beta * math.exp(step * error), 1e-4), maximum)
        yield beta


@pytest.mark.parametrize(
    ("plain", "scale", "settings"),
    [
        (entropy_target, 0.4, {}),
        (entropy_target, 0.6, {"initial": 1e-3, "delta": 2e-3}),
        (entropy_clip, 0.6, {}),
        (entropy_clip, 0.6, {"step": 1.0, "maximum": 0.6}),
        (ares_kl, 0.02, {}),
        (ares_kl, 0.1, {"every": 7, "step": 0.5, "ema": 0.5, "dead_zone": 0.3, "maximum": 1.5}),
    ],
)
def test_follows_its_recurrence_through_a_save(plain, scale, settings):
    draw = random.Random(0)
    seen = [scale * draw.random() for _ in range(230)]
    spec = {"name": plain.__name__, **settings}
    first, second = build("controller", spec), build("controller", spec)
    found = [first.update(value) for value in seen[:111]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.update(value) for value in seen[111:]]
    expected = list(plain(seen, **settings))
    assert found == pytest.approx(expected, abs=1e-12) and len(set(expected)) > 1
