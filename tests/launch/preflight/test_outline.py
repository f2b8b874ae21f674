"""What a run does without progress, against its deadline."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tersely.launch.preflight import time_estimate
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.outline import deadline_findings, slowest, waits_without_progress

BIG = Shape(1_500_000_000, 28, 1536, 8960, 12, 2, 128, 151936)
A100 = [gpu for gpu in time_estimate.GPUS if gpu.name == "A100"]


def waits(engine="vllm", **changes):
    values = {
        "rows": 1024,
        "engine_rows": 1024,
        "mean": 4000.0,
        "cap": 16384,
        "prompt": 200.0,
        "group_size": 16,
        "step_s": 0.006,
    }
    work = time_estimate.Workload(**{**values, "vllm_bytes": 60 << 30, "micro_batch": 2, **changes})
    parts = slowest(BIG, work, A100)
    return parts, waits_without_progress(SimpleNamespace(engine=engine), BIG, True, "zero2", parts["backward"])


def levels(found, *deadlines):
    return [next(iter(deadline_findings(deadline, found, ""))).level for deadline in deadlines]


@pytest.mark.parametrize("engine", ["vllm", "vllm_server", "transformers"])
def test_the_longest_wait_is_judged_and_an_answer_is_none(engine):
    parts, found = waits(engine)
    longest = max(found.values())
    assert levels(found, longest / 2, 1.5 * longest, 3 * longest) == ["fail", "warn", "ok"]
    answer_s = 16384 * parts["decode_step"]
    assert answer_s > 2 * longest and levels(found, 0.9 * answer_s) == ["ok"], "each decoding step is progress"


def test_a_large_micro_batch_or_large_states_are_what_is_named():
    small, large = waits()[1], waits(micro_batch=512, checkpointing=True)[1]
    assert "a checkpoint of" in max(small, key=small.get) and "backward" in max(large, key=large.get)
    assert len(waits("vllm_server")[1]) == 3
