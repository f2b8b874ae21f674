"""Stages from a recipe: what each one is, what is carried, and what is refused."""

from __future__ import annotations

import pytest

from tersely.algorithms.objective import Objective
from tersely.configs.recipe import Recipe
from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.recording.run_files import MetricsFile
from tersely.rl.stages import carried_state, finished, publish

TWO = [
    {"name": "discovery", "share": 0.25},
    {"name": "inner", "share": 0.75, "reward": "lapo_internalization", "settings": {"max_completion_length": 32}},
]


def recipe(**changes):
    return {
        "model_name_or_path": "m",
        "reward": "lapo_discovery",
        "max_steps": 8,
        "stages": TWO,
        "run_dir": "r",
    } | changes


def test_shares_become_steps_that_count_on(tmp_path):
    first, second = Recipe.of(recipe(run_dir=str(tmp_path))).stages
    assert (first.first_step, first.steps, second.first_step, second.steps) == (0, 2, 2, 6)
    assert first.recipe.reward == (ComponentSpec("lapo_discovery"),) and not first.recipe.states(
        "max_completion_length"
    )
    assert second.recipe.reward == (ComponentSpec("lapo_internalization"),)
    assert second.recipe.trl["max_completion_length"] == 32
    assert second.recipe.run_dir == str(tmp_path / "stages" / "2-inner") and second.recipe.trl["max_steps"] == 6
    assert not second.recipe.stages and second.title == "stage inner: steps 3 to 8"
    assert second.after(first).recipe.model_name_or_path == str(tmp_path / "stages/1-discovery/final")


@pytest.mark.parametrize(
    "shares", [[0.25, 0.75], [0.5, 0.5], [0.28, 0.56, 0.16], [0.33, 0.33, 0.34], [0.3333] * 3, [1]]
)
@pytest.mark.parametrize("batches", [3, 4, 7, 10, 120, 12_001])
@pytest.mark.parametrize("updates", [1, 4])
def test_shares_of_one_are_whole_batches_that_add_up_to_max_steps(shares, batches, updates):
    stages = [{"name": f"s{number}", "share": share} for number, share in enumerate(shares)]
    found = [
        s.steps for s in Recipe.of(recipe(stages=stages, max_steps=batches * updates, updates_per_batch=updates)).stages
    ]
    assert sum(found) == batches * updates
    for steps, share in zip(found, shares, strict=True):
        assert steps >= updates and steps % updates == 0
        assert abs(steps - share / sum(shares) * batches * updates) <= updates * (1 if batches > 3 else 1.5)


def test_steps_stand_beside_shares():
    stages = [{"name": "cold", "steps": 5}, {"name": "half", "share": 0.5}]
    assert [s.steps for s in Recipe.of(recipe(stages=stages, max_steps=9)).stages] == [5, 4]


@pytest.mark.parametrize("value", ["1e2", 100.0, "100"])
def test_a_number_that_yaml_reads_as_text_or_float_is_the_number(value):
    assert [s.steps for s in Recipe.of(recipe(max_steps=value)).stages] == [25, 75]
    assert Recipe.of(recipe(max_steps=value, stages=[])).stages[0].steps == 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_steps": 9, "updates_per_batch": 2}, "max_steps.* 9.*a multiple .* = 2"),
        ({"max_steps": 1}, "max_steps.*1 .*2 stages.*2"),
        ({"max_steps": "many"}, "max_steps.* 'many'.*a whole number"),
        ({"max_steps": 2.5, "stages": []}, "max_steps.* 2.5.*a whole number"),
    ],
)
def test_steps_that_cannot_be_dealt_out_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        Recipe.of(recipe(**changes))


def test_a_recipe_without_stages_is_one_in_the_run_directory():
    (only,) = Recipe.of({"model_name_or_path": "m", "run_dir": "r", "max_steps": 5}).stages
    assert only.name is None and str(only.folder) == "r" and only.recipe.trl["max_steps"] == 5 and not finished(only)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("two", "stages.* 'two'"),
        ([{"share": 1.0}], "stage 1: .*with a name"),
        ([{"name": "a b", "steps": 2}], "name.* 'a b'"),
        ([{"name": "a", "steps": 2}, {"name": "a", "steps": 2}], "unique name"),
        ([{"name": "a", "steps": 2, "kind": "stf"}], "kind: got 'stf'.*'sft'"),
        ([{"name": "a"}], "either steps or share"),
        ([{"name": "a", "steps": 2, "share": 0.5}], "steps.*share"),
        ([{"name": "a", "steps": 0}], "steps.* 0"),
        ([{"name": "a", "share": 1.5}], "share.* 1.5"),
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.4}], "shares.*0.9"),
        ([{"name": "a", "steps": 2, "run_dir": "x"}], "run_dir"),
        ([{"name": "a", "steps": 2, "settings": 3}], "settings.* 3"),
    ],
)
def test_what_is_refused(stages, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.of(recipe(stages=stages))


def test_a_share_needs_planned_steps():
    with pytest.raises(ConfigError, match="max_steps.* None"):
        Recipe.of(recipe(max_steps=None))


def test_a_stage_is_done_when_its_final_is_whole_and_the_last_is_published(tmp_path):
    stages = Recipe.of(recipe(run_dir=str(tmp_path))).stages
    assert carried_state(None) == {} and not finished(stages[0])
    for stage in stages:
        stage.final.mkdir(parents=True)
        (stage.final / "weights").write_text(stage.name)
        checkpoint.seal(stage.final, 2, {"memory": {"p": {"target": 3.0}}, "objective": {}})
    assert finished(stages[0]) and carried_state(stages[0])["memory"] == {"p": {"target": 3.0}}
    publish(stages, tmp_path)
    assert (tmp_path / "final" / "weights").read_text() == "inner" and checkpoint.fault(tmp_path / "final") is None
    (stages[1].final / "weights").write_text("cut")
    assert not finished(stages[1])


def test_state_goes_on_where_the_component_is_the_same():
    specs = {"reward": {"name": "acoer", "alpha": 0.3}, "controllers": ["entropy_clip"]}
    left = Objective.from_specs(specs)
    left.reward.terms[0].load_state_dict({**left.reward.terms[0].state_dict(), "tokens": 40.0})
    left.controllers[0].update(0.0)
    same, other = (
        Objective.from_specs(specs),
        Objective.from_specs({"reward": "alp", "controllers": ["entropy_target"]}),
    )
    same.carry_over(left.state_dict())
    other.carry_over(left.state_dict())
    assert same.state_dict() == left.state_dict()
    assert other.controllers[0].value == 0.0


def test_metrics_of_a_later_stage_count_on_and_name_it(tmp_path):
    MetricsFile(tmp_path / "m").write(1, {"loss": 1.0})
    file = MetricsFile(tmp_path / "m", resumed_step=1, stage="inner", first_step=1)
    file.write(1, {"loss": 0.5})
    assert (tmp_path / "m").read_text().splitlines() == [
        '{"step": 1, "loss": 1.0}',
        '{"step": 2, "stage": "inner", "loss": 0.5}',
    ]
