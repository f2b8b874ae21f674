import json

from tersely.eval.report.training_curves import POINTS, read_metrics, series, training_figures, zero_throughout


def test_reading_skips_what_is_half_written(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1, "reward": 0.5}) + '\nnull\n{"step": 2, "rew')
    assert read_metrics(tmp_path) == [{"step": 1, "reward": 0.5}]
    assert read_metrics(tmp_path / "no") == [] and read_metrics(None) == []


def test_series_take_the_first_known_name_and_stay_small():
    lines = [{"step": i, "b": i / 2} for i in range(1000)] + [{"step": 1000, "b": None}]
    x, y = series(lines, ("a", "b"))
    assert len(x) == POINTS and y[-1] > 498 and y[0] < 2


def test_held_out_problems_have_their_curve():
    lines = [{"step": s, "eval/accuracy_at_budget": 0.5 + s / 100, "eval/tokens_mean": 90.0 - s} for s in (0, 20, 40)]
    held, tokens = training_figures([(0, "alp", lines)])
    assert (held.title, tokens.title) == ("Held-out accuracy", "Held-out tokens")
    assert held.rows[-1] == ["alp", "40", "0.9"]


def test_one_figure_a_logged_quantity():
    runs = [
        (0, "alp", [{"step": i, "entropy": 1 / (1 + i), "grad_norm": 2.0} for i in range(5)]),
        (3, "grpo", [{"step": 1, "loss": 2}]),
    ]
    figures = training_figures(runs)
    assert [f.title for f in figures] == ["Entropy", "Gradient norm"]
    assert figures[0].alt == "Entropy over training. alp: from 1 to 0.2 in 4 steps." and len(figures[0].rows) == 5


def test_what_is_zero_throughout_is_said_and_not_drawn():
    runs = [
        (0, "alp", [{"step": i, "entropy": 1.0, "clip_ratio/low_mean": 0.0} for i in range(3)]),
        (1, "grpo", [{"step": i, "ratio/max_log": 0.5 * i, "clip_ratio/low_mean": 0.0} for i in range(3)]),
    ]
    assert [figure.title for figure in training_figures(runs)] == ["Entropy", "Largest log-ratio"]
    assert zero_throughout(runs) == ["Tokens clipped at the low bound"] and zero_throughout([]) == []
