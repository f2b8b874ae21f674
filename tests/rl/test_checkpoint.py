from __future__ import annotations

import pytest

from tersely.rl import checkpoint


@pytest.fixture
def run(tmp_path):
    for step in (2, 4, 10):
        folder = checkpoint.folder(tmp_path, step)
        (folder / "sub").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes([step]) * 100)
        (folder / "sub" / "optimizer.pt").write_bytes(b"o" * 50)
        checkpoint.complete(tmp_path, step, {"memory": {"p": {"target": float(step)}}, "objective": {}})
    return tmp_path


def test_the_newest_whole_one_is_taken(run):
    path, passed_over = checkpoint.latest_whole(run)
    assert path.name == "checkpoint-10" and not passed_over
    assert checkpoint.component_state(path)["memory"] == {"p": {"target": 10.0}}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: (p / checkpoint.MANIFEST).unlink(), "not finished"),
        (lambda p: (p / checkpoint.MANIFEST).write_text('{"files": {'), "cannot be read"),
        (lambda p: (p / "model.safetensors").write_bytes(b"x" * 99), "99 bytes, not 100"),
        (lambda p: (p / "model.safetensors").write_bytes(b"x" * 100), "has changed"),
        (lambda p: (p / "sub" / "optimizer.pt").unlink(), "is missing"),
    ],
)
def test_a_damaged_one_is_passed_over_with_its_reason(run, damage, reason):
    damage(run / "checkpoint-10")
    path, passed_over = checkpoint.latest_whole(run)
    assert path.name == "checkpoint-4"
    assert len(passed_over) == 1 and reason in passed_over[0]


def test_nothing_whole_is_none(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-x").mkdir()
    path, passed_over = checkpoint.latest_whole(tmp_path)
    assert path is None and len(passed_over) == 1
