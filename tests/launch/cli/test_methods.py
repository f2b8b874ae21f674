"""`tersely methods` and the cards."""

from __future__ import annotations

import pytest

from tersely.configs.load import list_methods, load_method
from tersely.core.errors import ConfigError
from tersely.launch.cli import methods


def test_overview_has_a_row_per_preset_in_80_columns(capsys):
    assert methods.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.strip()]
    found = {row[0]: row for row in rows if len(row) > 1}  # a cell that wraps has a line of its own
    for name in list_methods():
        method = load_method(name)
        assert found[name][1] == method["paper"]
        assert found[name][2] == method["summary"].split()[0].rstrip(".")


def test_names_are_one_a_line(capsys):
    assert methods.main(["--names"]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == list_methods()


def test_card_of_alp_has_formula_and_parameters(capsys):
    assert methods.main(["alp"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "https://arxiv.org/abs/2506.05256",
        "r_i = c_i - beta * max(p, floor) * L_i / normalizer",
        "Degenerate:",
        "Pitfalls:",
        "aggregate: token",
    ):
        assert part in printed
    row = next(line for line in printed.splitlines() if line.split()[:1] == ["beta"])
    assert row.split() == ["beta", "float", "1e-07", "0.2"]


@pytest.mark.parametrize(
    "name, state",
    [
        ("lapo", "State: keeps target in the prompt memory; saved with the checkpoint"),
        ("laser_d", "State: updated from every batch; saved with the checkpoint"),
        ("selfbudgeter", "State: reads budget_max in the prompt memory"),
    ],
)
def test_cards_have_state_and_published_results(name, state, capsys):
    assert methods.main([name]) == 0
    printed = capsys.readouterr().out
    assert state in printed and "Published: " in printed


@pytest.mark.parametrize("name", ["alp", "lapo", "hbpo", "selfbudgeter", "autothink", "arm"])
def test_the_primary_methods_say_what_was_published(name):
    assert any(character.isdigit() for character in load_method(name)["published"])


def test_card_of_a_file_of_ones_own(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: Mine\nreward: [{name: correctness}, {name: soft_overlong, cache: 64}]\nsettings: {beta: 0.0}\n"
    )
    assert methods.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "reward: correctness" in printed
    assert "reward: soft_overlong" in printed
    assert "settings:\n  beta: 0.0" in printed


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="'dr_grpo'"):
        methods.main(["dr_gpro"])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("clip", "clip"),
        ({"name": "alp", "beta": 0.1}, "alp"),
        ([{"name": "correctness"}, {"name": "kimi", "weight": 0.5}], "correctness + 0.5 kimi"),
        ([{"name": "correctness"}, {"name": "kimi", "weight": 1.0}], "correctness + kimi"),
        ({"name": "kl_penalty", "base": {"name": "clip"}}, "kl_penalty(clip)"),
    ],
)
def test_a_spec_in_a_word(spec, text):
    assert methods.brief(spec) == text
