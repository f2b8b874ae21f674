"""The properties of a base model: known samples, verdicts with doubt, and a real model from sampling to the table."""

import numpy as np
import pytest

from tersely.eval.stats.bootstrap import Interval
from tersely.eval.testbed_properties import Property, Samples, properties, spread, waste, widest_level
from tersely.testbed.families import FAMILIES


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("tersely.eval.testbed_properties.DRAWS", 40)


def samples(level_tokens, accuracy, lost=0.5):
    """Ten problems per level with four samples each, of 1, 2, 3 and 4 times the level's tokens."""
    levels = np.repeat(np.arange(1, 6), 10)
    tokens = np.array([[level_tokens[level - 1] * times for times in (1, 2, 3, 4)] for level in levels], float)
    correct = np.array(
        [
            [float(index < 10 * accuracy[level - 1])] * 4
            for index, level in zip(list(range(10)) * 5, levels, strict=True)
        ]
    )
    return Samples(correct, tokens, levels, correct * (1 - lost), correct * 0.0)


def test_a_model_with_all_properties_has_them():
    # the need spreads within the level of the search, too
    parts = {name: samples((5, 10, 20, 60, 120), (1, 1, 0.9, 0.8, 0.6)) for name in FAMILIES}
    wide = parts["search"].tokens * np.tile(np.linspace(0.3, 2, 10), 5)[:, None]
    parts["search"] = Samples(
        parts["search"].correct, wide, *(getattr(parts["search"], name) for name in ("levels", "forced", "no_thinking"))
    )
    found = {item.name: item for item in properties(parts)}
    assert {name for name, item in found.items() if not item.verdict.startswith("yes")} == set()
    assert found["accuracy"].value.estimate == pytest.approx(0.86)
    assert found["loss without thinking"].value.estimate == pytest.approx(0.86)


def test_a_model_that_wastes_nothing_fails():
    flat = np.full((50, 4), 20.0)
    part = samples((5, 10, 20, 60, 120), (1, 1, 1, 1, 1))
    same = Samples(part.correct, flat, part.levels, part.correct, part.correct)
    found = {item.name: item.verdict for item in properties(dict.fromkeys(FAMILIES, same))}
    for name in ("accuracy", "waste, search", "spread of the need", "loss without thinking"):
        assert found[name] == "no"


def test_known_values():
    tokens, correct = np.array([[10.0, 30], [100, 300], [50, 70]]), np.array([[1.0, 1], [1, 0], [0, 0]])
    assert waste(tokens, correct) == pytest.approx(110 / 55)
    assert spread(tokens, correct) == pytest.approx(91 / 19)
    assert np.isnan(spread(tokens, np.zeros((3, 2)))) and np.isnan(waste(tokens, np.zeros((3, 2))))


def test_the_widest_level_needs_solved_problems():
    part = samples((5, 10, 20, 60, 120), (0, 0, 0, 1, 0))
    assert widest_level(part) == 4


@pytest.mark.parametrize(
    ("interval", "verdict"), [((3, 2.5, 4), "yes"), ((3, 1, 4), "yes ?"), ((1, 0.5, 3), "no ?"), ((1, 0.5, 1.5), "no")]
)
def test_a_verdict_says_where_the_interval_reaches(interval, verdict):
    assert Property("x", Interval(*interval, 0.95, 100), low=2).verdict == verdict


@pytest.mark.slow
def test_a_new_model_is_made_and_measured(monkeypatch, tmp_path, capsys):
    """From nothing to the table: every step on real parts, with sizes that teach nothing."""
    from tersely.eval import testbed_properties
    from tersely.launch import make_testbed as making
    from tersely.launch.cli.testbed_make import main as make
    from tersely.launch.cli.testbed_measure import main as measure
    from tersely.testbed import cold_start

    monkeypatch.setattr(cold_start, "CHUNK", 64)
    monkeypatch.setattr(making, "CAP", 24)
    monkeypatch.setattr(testbed_properties, "CAP", 24)
    words = ["--out", str(tmp_path), "--tokens", "8000", "--steps", "1"]
    assert make(words) == 0
    made = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert make(words) == 0  # nothing is done twice
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == made
    with pytest.raises(ValueError, match="tokens"):
        make(["--out", str(tmp_path), "--tokens", "9000"])
    capsys.readouterr()
    arguments = [
        str(tmp_path / "model"),
        "--out",
        str(tmp_path / "samples"),
        "--problems",
        "5",
        "--samples",
        "2",
    ]
    assert measure(arguments) == 0
    table = capsys.readouterr().out
    assert "waste, search" in table and "best allocation" in table
