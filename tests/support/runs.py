"""Small synthetic runs, written through the real writer."""

import numpy as np
import pytest

from tersely.eval.records import SCORES, RecordWriter


def make_record(run="base", benchmark="sums", problem_id="p0", sample=0, verdict="correct", tokens=40, **more):
    """One complete record; give what matters."""
    answer = {"correct": "7", "incorrect": "8"}.get(verdict)
    return {
        "run": run,
        "benchmark": benchmark,
        "problem_id": problem_id,
        "sample": sample,
        "seed": sample,
        "level": None,
        "problem": "3 + 4",
        "gold": "7",
        "text": f"3 + 4 = {answer}. wait </think> \\boxed{{{answer}}}",
        "tokens": tokens,
        "thinking_tokens": tokens // 2,
        "truncated": False,
        "verdict": verdict,
        "correct": SCORES[verdict],
        "answer": answer,
        "finish": "stop",
        "strategy": None,
    } | more


def make_run(folder, run, problems=40, samples=8, scale=1.0, gain=0.0, seed=0, **more):
    """A run whose tokens grow and whose accuracy falls with the level, 2 to 6."""
    rng = np.random.default_rng(seed)
    with RecordWriter(folder / "records.jsonl") as writer:
        for q in range(problems):
            level = 2 + q % 5
            for j in range(samples):
                right = rng.random() < 1.1 - 0.1 * level + gain
                tokens = int(10 * level * scale * rng.uniform(0.7, 1.3))
                writer.write(
                    make_record(
                        run,
                        problem_id=f"p{q}",
                        sample=j,
                        level=level,
                        tokens=tokens,
                        verdict="correct" if right else "incorrect",
                        **more,
                    )
                )
    return folder


@pytest.fixture
def runs(tmp_path):
    """Directories of a base and a run with half its tokens."""
    return (make_run(tmp_path / "base", "base"), make_run(tmp_path / "short", "short", scale=0.5, seed=1))


@pytest.fixture(scope="session")
def record():
    return make_record


@pytest.fixture(scope="session")
def write_run():
    return make_run
