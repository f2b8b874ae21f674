"""Figure of the reference curves: what ideal budgets would keep of the base's accuracy, next to the runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.report.figures import Runs, number, percent
from tersely.eval.report.svg import INK, Figure, color, marker

CURVES = {"uniform_cap": ("one budget for all problems", "--"), "oracle_allocation": ("the best budget for each", "-")}


def ideal_budgets(key: str, curves: dict[str, Any] | None, runs: Runs) -> Figure | None:
    """Accuracy against mean tokens if the base answered correctly as soon as its shortest correct sample does."""
    if curves is None:
        return None
    known = [(i, name, e) for i, name, e in runs if e["accuracy"] is not None and e["tokens_mean"]]

    def draw(ax: Any) -> None:
        for name, (_, line) in CURVES.items():
            tokens, accuracy = (np.array(curves[name][part]) for part in ("tokens", "accuracy"))
            ax.step(tokens, 100 * accuracy, where="post", color=INK, linestyle=line, linewidth=1)
        for i, _, e in known:
            ax.plot([e["tokens_mean"]], [100 * e["accuracy"]], marker=marker(i), color=color(i), linestyle="none")
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("mean tokens")
        ax.set_ylabel("accuracy, %")

    rows = [
        [label, number(tokens), percent(accuracy)]
        for name, (label, _) in CURVES.items()
        for tokens, accuracy in zip(curves[name]["tokens"], curves[name]["accuracy"], strict=True)
    ]
    return Figure(
        key,
        "Ideal budgets",
        f"References from {curves['of']}, {curves['samples']} samples per problem: accuracy if budgets took only waste away, "
        "the same budget for all problems (dashed) or the best for each (solid). Points are the runs.",
        ["reference", "tokens", "accuracy"],
        rows,
        draw,
        [(i, name) for i, name, _ in known],
        note=f"lines from {curves['of']}: dashed one budget for all problems, solid the best for each",
    )
