import json
import shutil

import numpy as np
import pytest
import yaml

from tersely.core.errors import ConfigError
from tersely.eval.compare import compare
from tersely.eval.report.write import load_all, write_report

from .test_same_settings import with_card


def trained(tmp_path, write_run, method, seed, scale, gain=0.0, **changed):
    """A run directory of a method and its evaluation, as `tersely train` and `tersely eval` leave them."""
    folder = tmp_path / f"{method}-seed{seed}"
    (folder / "final").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    (folder / "config.yaml").write_text(yaml.safe_dump({"reward": method, "seed": seed, "run_dir": str(folder)}))
    write_run(folder / "eval", folder.name, scale=scale, gain=gain, seed=seed + 10, samples=4)
    return with_card(folder / "eval", folder.name, f"{folder / 'final'} [{seed}]", **changed)


@pytest.fixture
def base(tmp_path, write_run):
    return with_card(write_run(tmp_path / "base", "base", samples=4), "base", "hub/base")


def test_seeds_of_one_method_are_one_row(tmp_path, write_run, base):
    alp = [trained(tmp_path, write_run, "alp", seed, 0.4 + 0.1 * seed) for seed in (1, 2, 3)]
    grpo = trained(tmp_path, write_run, "grpo", 1, 1.0)
    path = write_report([base, *alp, grpo], base, tmp_path / "o")
    data = json.loads(path.read_text())
    assert [run["name"] for run in data["runs"]] == ["base", "alp (3 seeds)", "grpo-seed1"]
    entry = data["runs"][1]["benchmarks"]["sums"]
    assert data["runs"][1]["seeds"] == 3 and entry["samples"] == 40 * 12
    c = data["comparisons"][0]
    assert (c["seeds_run"], c["seeds_base"]) == (3, 1)
    means = [r.benchmarks["sums"].tokens.mean() for r in load_all(alp)]
    assert entry["tokens_mean"] == pytest.approx(np.mean(means))
    assert entry["tokens_ci"][0] < np.mean(means) - 3 and entry["tokens_ci"][1] > np.mean(means) + 3, (
        "as the seeds spread"
    )
    page = path.with_name("report.html").read_text()
    assert all(f"alp-seed{seed}" in page for seed in (1, 2, 3)), "every seed has its card"
    assert "alp (3 seeds)" in path.with_name("report.md").read_text()


def test_named_seeds(tmp_path, write_run, base):
    places = [str(write_run(tmp_path / name, name, samples=4, seed=i)) for i, name in enumerate("xyz")]
    (run,) = load_all([f"mine={','.join(places)}"])
    assert run.name == "mine (3 seeds)" and run.benchmarks["sums"].seed_count == 3
    assert run.record("sums", 0, 5)["run"] == "y"
    (c,) = compare(base, ",".join(places))
    assert c["seeds_run"] == 3 and c["accuracy_p"] > 0.01
    (renamed,) = load_all([f"mine={places[0]}"])
    assert renamed.name == "mine"


def test_runs_that_are_not_seeds_of_one_method_stay_apart(tmp_path, write_run, base):
    one = trained(tmp_path, write_run, "alp", 1, 0.5)
    other = trained(tmp_path, write_run, "dler", 2, 0.5)
    again = with_card(write_run(tmp_path / "again", "again", samples=4), "again", "hub/base")  # the same seed
    data = json.loads(write_report([base, one, other, again], base, tmp_path / "o").read_text())
    assert [run["name"] for run in data["runs"]] == ["base", "alp-seed1", "dler-seed2", "again"]


def test_two_seeds_can_be_compared_with_one_another(tmp_path, write_run):
    one, two = (trained(tmp_path, write_run, "alp", seed, 0.5) for seed in (1, 2))
    assert compare(one, two)[0]["run"] == "alp-seed2"
    data = json.loads(write_report([one, two], one, tmp_path / "o").read_text())
    assert data["base"] == "alp-seed1" and len(data["comparisons"]) == 1


def test_one_seed_that_differs_from_the_others_decides_nothing(tmp_path, write_run, base):
    """Three seeds, two of them better: the problems are many, the seeds are not."""
    alp = [trained(tmp_path, write_run, "alp", seed, 1.0, gain) for seed, gain in ((1, 0.3), (2, 0.3), (3, -0.1))]
    (alone,) = compare(base, alp[0])
    assert alone["accuracy_conclusion"] == "better"
    (c,) = compare(base, ",".join(map(str, alp)))
    assert c["accuracy_conclusion"] == "undecided"


def test_seeds_sampled_with_other_settings_are_refused(tmp_path, write_run):
    one = trained(tmp_path, write_run, "alp", 1, 0.5)
    two = trained(tmp_path, write_run, "alp", 2, 0.5, temperature=1.0)
    with pytest.raises(ConfigError, match="seeds.*temperature"):
        load_all([f"{one},{two}"])
    assert len(load_all([one, two])) == 2


@pytest.mark.parametrize("copy", [False, True])
def test_a_run_that_stands_twice_is_not_two_seeds(tmp_path, write_run, base, copy):
    one = write_run(tmp_path / "one", "one", samples=4, seed=1)
    two = write_run(tmp_path / "two", "two", samples=4, seed=2)
    again = one
    if copy:
        again = tmp_path / "copy"
        shutil.copytree(one, again)
    with pytest.raises(ConfigError, match="same samples"):
        load_all([f"mine={one},{two},{again}"])
    with pytest.raises(ConfigError, match="same samples"):
        compare(base, f"{one},{again}")
