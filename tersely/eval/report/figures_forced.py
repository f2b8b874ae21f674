"""Figure of the forced-answer curve: accuracy when thinking is cut at a budget, next to plain sampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from tersely.eval.report.svg import Figure, color, dash, marker


def forced_answer_curve(key: str, curves: list[dict[str, Any]], numbers: dict[str, int]) -> Figure | None:
    """Accuracy against the mean tokens at each budget; `numbers` fixes the colours by run."""
    if not curves:
        return None
    from tersely.eval.report.figures import number, percent

    names = [curve["of"] + (f" ({curve['form']})" if len(curves) > 1 and curve["form"] else "") for curve in curves]

    def draw(ax: Any) -> None:
        for place, curve in enumerate(curves):
            i = numbers.get(curve["of"], place)
            x, y = np.array(curve["tokens_mean"], dtype=float), 100 * np.array(curve["accuracy"], dtype=float)
            low, high = 100 * np.array(curve["accuracy_ci"], dtype=float).T
            ax.plot(x, y, color=color(i), linestyle=dash(i), marker=marker(i), markersize=5)
            ax.fill_between(x, low, high, color=color(i), alpha=0.15, linewidth=0)
            for budget, left, up in zip(curve["budgets"], x, y, strict=True):
                ax.annotate(f"{budget}", (left, up), xytext=(4, -11), textcoords="offset points", fontsize=8)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("mean tokens (each point: thinking budget)")
        ax.set_ylabel("accuracy, %")

    rows = [
        [name, budget, number(tokens), percent(accuracy), f"{percent(ends[0])} to {percent(ends[1])}"]
        for name, curve in zip(names, curves, strict=True)
        for budget, tokens, accuracy, ends in zip(
            *(curve[k] for k in ("budgets", "tokens_mean", "accuracy", "accuracy_ci")), strict=True
        )
    ]
    summary = "; ".join(f"{name}: area {number(curve['auc'], 3)}" for name, curve in zip(names, curves, strict=True))
    return Figure(
        key,
        "Forced answers",
        f"Accuracy when thinking is cut at a budget and the answer forced, without training. {summary}.",
        ["run", "thinking budget", "tokens", "accuracy", "95 %"],
        rows,
        draw,
        [
            (numbers.get(curve["of"], place), name)
            for place, (name, curve) in enumerate(zip(names, curves, strict=True))
        ],
        note="thinking cut at a budget, no training",
    )
