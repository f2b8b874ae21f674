"""Learning curves from the metrics.jsonl of training runs: one figure per quantity, with all runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.metric_names import find
from tersely.eval.report.svg import Figure, color, dash, short

Curves = list[tuple[int, str, list[dict[str, Any]]]]  # (number and name of the run, lines of its metrics.jsonl)
CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Accuracy of the rollouts", ("verify/accuracy",)),
    ("Tokens of the rollouts", ("completions/mean_length",)),
    ("Held-out accuracy", ("eval/accuracy_at_budget",)),
    ("Held-out tokens", ("eval/tokens_mean",)),
    ("Reward", ("reward",)),
    ("Entropy", ("entropy", "entropy/of_trained")),
    ("Clipped tokens", ("clip_ratio/region_mean",)),
    ("Tokens clipped at the low bound", ("clip_ratio/low_mean",)),
    ("Tokens clipped at the high bound", ("clip_ratio/high_mean",)),
    ("Largest log-ratio", ("ratio/max_log",)),
    ("Ratios above 2", ("ratio/share_above_2",)),
    ("Ratios below 0.5", ("ratio/share_below_0.5",)),
    ("Entropy of the first quarter", ("entropy/part_1",)),
    ("Entropy of the last quarter", ("entropy/part_4",)),
    ("Entropy of correct rollouts", ("entropy/correct",)),
    ("Entropy of incorrect rollouts", ("entropy/incorrect",)),
    ("Tokens treated as high entropy", ("hapo/high_entropy_share", "high_entropy_mask/kept_share")),
    ("Tokens with an advantage of 0", ("tokens/zero_share",)),
    ("Effective temperature", ("temperature/mean",)),
    ("Tokens that the sampler correction masks", ("sampler/masked_share",)),
    ("Padded tokens saved", ("update/tokens_saved",)),
    ("Truncated rollouts", ("completions/clipped_ratio",)),
    ("Groups with correct and incorrect rollouts", ("groups/mixed",)),
    ("Log-prob mismatch of engine and trainer", ("mismatch/mean",)),
    ("Gradient norm", ("grad_norm",)),
)
"""(title, metrics): plots the first metric that the run logged, in its unit."""
POINTS = 300  # maximum points per curve


def read_metrics(folder: Path | None) -> list[dict[str, Any]]:
    """Read metrics.jsonl without unreadable lines (the last line of a run in progress may be incomplete)."""
    path = folder / "metrics.jsonl" if folder else None
    if path is None or not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), (int, float)):
            lines.append(row)
    return lines


def series(lines: list[dict[str, Any]], names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of the first of these names that the run logged, averaged over equal intervals."""
    for name in names:
        points = [(row["step"], row[name]) for row in lines if isinstance(row.get(name), (int, float))]
        if points:
            x, y = np.array(points, dtype=float).T
            if len(x) > POINTS:
                cuts = np.array_split(np.arange(len(x)), POINTS)
                x, y = (np.array([v[cut].mean() for cut in cuts]) for v in (x, y))
            return x, y
    return np.array([]), np.array([])


def learning_curve(key: str, title: str, names: tuple[str, ...], runs: Curves) -> Figure | None:
    """One quantity over optimizer steps; None if no run logged it."""
    unit = find(names[0]).unit
    found = [(i, name, *series(lines, names)) for i, name, lines in runs]
    curves = [(i, name, x, y) for i, name, x, y in found if len(x)]
    if not curves:
        return None

    def draw(ax: Any) -> None:
        for i, _, x, y in curves:
            window = max(1, len(y) // 20)
            smooth = np.convolve(
                np.pad(y, (window // 2, window - 1 - window // 2), mode="edge"), np.ones(window) / window, "valid"
            )
            ax.plot(x, y, color=color(i), linewidth=0.8, alpha=0.35)
            ax.plot(x, smooth, color=color(i), linestyle=dash(i))
        if all(np.ptp(y) == 0 for _, _, _, y in curves):  # a constant needs no automatic range
            ax.set_ylim(min(0.0, *(y[0] for _, _, _, y in curves)), max(1.0, *(2 * y[0] for _, _, _, y in curves)))
        ax.set_xlabel("step")
        ax.set_ylabel(unit)

    rows = [
        [name, f"{x[j]:g}", f"{y[j]:.4g}"]
        for _, name, x, y in curves
        for j in np.unique(np.linspace(0, len(x) - 1, min(12, len(x))).astype(int))
    ]
    said = "; ".join(f"{short(name)}: from {y[0]:.3g} to {y[-1]:.3g} in {x[-1]:g} steps" for _, name, x, y in curves)
    return Figure(
        key,
        title,
        f"{title} over training. {said}.",
        ["run", "step", unit],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
    )


def training_figures(runs: Curves) -> list[Figure]:
    """All quantities with a logged value other than 0 in at least one run; the order of runs fixes the colours."""
    left_out = zero_throughout(runs)
    made = (learning_curve(f"train-{i}", *curve, runs) for i, curve in enumerate(CURVES) if curve[0] not in left_out)
    return [figure for figure in made if figure is not None]


def zero_throughout(runs: Curves) -> list[str]:
    """Titles of the quantities that are 0 in every step of every run, which get no figure."""
    values = {title: [series(lines, names)[1] for _, _, lines in runs] for title, names in CURVES}
    return [title for title, found in values.items() if any(map(len, found)) and not any(y.any() for y in found)]
