from __future__ import annotations

import pytest

from tersely.rl.checkpoints import manifest as checkpoint


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
        (lambda p: (p / "model.safetensors").write_bytes(b"x" * 99), "99 bytes; expected 100"),
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


def names(run):
    return sorted(path.name for path in run.iterdir())


@pytest.mark.parametrize(("limit", "left"), [(2, ["checkpoint-10"]), (3, ["checkpoint-10", "checkpoint-4"])])
def test_room_is_made_by_seal_and_one_stays_while_the_next_is_written(run, limit, left):
    (run / "checkpoint-11").mkdir()  # killed while it was being saved
    checkpoint.make_room(run, limit, resumed=10, saved=())
    assert names(run) == left


def test_no_limit_keeps_all_that_are_sealed(run):
    (run / "checkpoint-3").mkdir()
    checkpoint.make_room(run, None, resumed=10, saved=())
    assert names(run) == ["checkpoint-10", "checkpoint-2", "checkpoint-4"]


def test_what_a_resume_passed_over_never_counts_as_the_one_that_stays(run):
    for step in (4, 10):
        (checkpoint.folder(run, step) / "model.safetensors").write_bytes(b"damaged")
    path, _ = checkpoint.latest_whole(run)
    checkpoint.make_room(run, 2, resumed=2, saved=())
    assert names(run) == ["aside-checkpoint-10", "aside-checkpoint-4", "checkpoint-2"]
    assert checkpoint.latest_whole(run) == (path, [])


def test_what_a_run_went_back_behind_goes_and_its_own_later_ones_stay(run):
    checkpoint.mark_behind(checkpoint.folder(run, 2), "the run went back")
    assert checkpoint.fault(checkpoint.folder(run, 4)) == "the run went back"
    checkpoint.make_room(run, 9, resumed=2, saved=())
    assert names(run) == ["checkpoint-2"]
    (run / "checkpoint-12").mkdir()
    checkpoint.complete(run, 12, {})
    checkpoint.make_room(run, 9, resumed=2, saved=(12,))
    assert names(run) == ["checkpoint-12", "checkpoint-2"]
