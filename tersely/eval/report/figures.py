"""Figures of an evaluation, one function per figure: from report.json to a Figure (picture, alt text, data)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tersely.eval.metrics import pareto_front
from tersely.eval.report.labels import labels_of, place_labels
from tersely.eval.report.svg import INK, Figure, color, dash, marker, short

Runs = list[tuple[int, str, dict[str, Any]]]  # (number of the run, which fixes its colour; name; benchmark entry)
VERDICTS = ("correct", "incorrect", "no_answer", "undecided")


def number(x: float | None, digits: int = 1) -> str:
    return "-" if x is None else f"{x:,.{digits}f}"


def percent(x: float | None, digits: int = 1) -> str:
    return "-" if x is None else f"{100 * x:.{digits}f} %"


def _nan(values: Any) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def accuracy_against_tokens(key: str, runs: Runs, free: Sequence[str] = ()) -> Figure:
    """One box per run (95 % in both directions) and the Pareto front of the means.

    `free`: names of the base and its decoding strategies; their front, which training must beat, is drawn too.
    """
    known = [(i, name, e) for i, name, e in runs if e["accuracy"] is not None and e["tokens_mean"]]
    points = np.array([(e["tokens_mean"], e["accuracy"]) for _, _, e in known]).reshape(-1, 2)
    front = pareto_front(points)
    costless = np.array([name in free for _, name, _ in known], dtype=bool)
    untrained = np.zeros(len(known), dtype=bool)
    if costless.sum() > 1:
        untrained[costless] = pareto_front(points[costless])

    def draw(ax: Any) -> None:
        from matplotlib.patches import Rectangle

        for (i, name, e), (x, y) in zip(known, points, strict=False):
            (left, right), (low, high) = _nan(e["tokens_ci"]), 100 * _nan(e["accuracy_ci"])
            ink, size, shape = (INK, 4, "x") if name in free[1:] else (color(i), 7, marker(i))
            ax.add_patch(Rectangle((left, low), right - left, high - low, color=ink, alpha=0.18, linewidth=0))
            ax.plot([x], [100 * y], marker=shape, color=ink, markersize=size, linestyle="none")
        for which, line in ((front, ":"), (untrained, "--")):
            best = points[which][np.argsort(points[which][:, 0])]
            ax.step(best[:, 0], 100 * best[:, 1], where="post", color=INK, linewidth=1, linestyle=line, zorder=1)
        _log_axis(ax, points[:, 0])
        ax.margins(0.16, 0.12)
        ax.set_xlabel("mean tokens")
        ax.set_ylabel("accuracy, %")
        labels = labels_of([name for _, name, _ in known], free)
        place_labels(ax, [(x, 100 * y, label) for label, (x, y) in zip(labels, points, strict=True)])

    rows = [
        [
            name,
            number(e["tokens_mean"]),
            " to ".join(map(number, e["tokens_ci"])),
            percent(e["accuracy"]),
            " to ".join(map(percent, e["accuracy_ci"])),
            "yes" if on else "",
        ]
        for (_, name, e), on in zip(known, front, strict=False)
    ]
    on_front = ", ".join(name for (_, name, _), on in zip(known, front, strict=False) if on)
    if untrained.any():
        on_front += "; dashed, the front of the base without training: "
        on_front += ", ".join(name for (_, name, _), on in zip(known, untrained, strict=True) if on)
    summary = "; ".join(
        f"{name}: {percent(e['accuracy'])} at {number(e['tokens_mean'])} tokens" for _, name, e in known
    )
    return Figure(
        key,
        "Accuracy against tokens",
        f"Accuracy against mean tokens with 95 % boxes. {summary}. On the Pareto front: {on_front}.",
        ["run", "tokens", "95 %", "accuracy", "95 %", "on the front"],
        rows,
        draw,
        note="boxes 95 %, dotted the Pareto front"
        + (", dashed that of the base without training" if untrained.any() else ""),
    )


def _log_axis(ax: Any, x: np.ndarray) -> None:
    if len(x) and x.min() > 0 and x.max() / x.min() > 4:
        from matplotlib.ticker import FuncFormatter, NullFormatter

        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())


def accuracy_at_budget(key: str, runs: Runs) -> Figure:
    """The truncation curve: correct and within the budget, no answer forced; 95 % bands."""

    def draw(ax: Any) -> None:
        for i, _, e in runs:
            c = e["budget_curve"]
            x = np.array(c["budgets"], dtype=float)
            ax.plot(x, 100 * _nan(c["accuracy"]), color=color(i), linestyle=dash(i), marker=marker(i), markersize=4)
            ax.fill_between(x, 100 * _nan(c["low"]), 100 * _nan(c["high"]), color=color(i), alpha=0.15, linewidth=0)
        _log_axis(ax, x)
        ax.set_xticks(x[:: max(1, len(x) // 6)])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("budget, tokens")
        ax.set_ylabel("correct within the budget, %")

    rows = [
        [name, b, percent(a), f"{percent(lo)} to {percent(hi)}"]
        for _, name, e in runs
        for b, a, lo, hi in zip(*(e["budget_curve"][k] for k in ("budgets", "accuracy", "low", "high")), strict=False)
    ]
    summary = "; ".join(f"{name}: area {number(e['budget_auc'], 3)}" for _, name, e in runs)
    return Figure(
        key,
        "Accuracy at a budget",
        f"Share of samples correct within a token budget (cut off, no answer forced). {summary}.",
        ["run", "budget", "accuracy", "95 %"],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
    )


def tokens_by_level(key: str, runs: Runs) -> Figure | None:
    """Mean tokens by the benchmark's levels, or by the reference's solve rate; None without either."""
    levels = list(dict.fromkeys(level for _, _, e in runs for level in e["by_level"]))
    if levels:
        cells = {name: [e["by_level"].get(level, {}) for level in levels] for _, name, e in runs}
        what, field = "level", "tokens_mean"
    else:
        levels = [row["bin"] for row in reversed(runs[0][2]["by_difficulty"])]
        cells = {name: e["by_difficulty"][::-1] for _, name, e in runs}
        what, field = "solve rate of the reference, easy to hard", "tokens"
        if not any(cell["problems"] for row in cells.values() for cell in row):
            return None

    def draw(ax: Any) -> None:
        for i, name, _ in runs:
            ax.plot(
                range(len(levels)),
                _nan(c.get(field) for c in cells[name]),
                color=color(i),
                linestyle=dash(i),
                marker=marker(i),
                markersize=5,
            )
        ax.set_xticks(range(len(levels)), [short(level, 12) for level in levels], rotation=0 if len(levels) < 7 else 45)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(what)
        ax.set_ylabel("mean tokens")

    rows = [
        [name, level, number(c.get(field)), percent(c.get("accuracy")), c.get("problems", 0)]
        for _, name, _ in runs
        for level, c in zip(levels, cells[name], strict=False)
    ]
    summary = "; ".join(
        f"{name}: ratio of the hardest to the easiest third {number(e['adaptation_ratio'], 2)}" for _, name, e in runs
    )
    return Figure(
        key,
        "Tokens by difficulty",
        f"Mean tokens by {what}. {summary}.",
        ["run", what, "tokens", "accuracy", "problems"],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
    )


def redundant_by_difficulty(key: str, runs: Runs) -> Figure | None:
    """Share of the tokens after the first correct answer, by level or solve rate of the reference; None without either."""
    groups = "by_level" if any(e["redundancy"]["by_level"] for _, _, e in runs) else "by_difficulty"
    what = "level" if groups == "by_level" else "solve rate of the reference, easy to hard"
    cells = {name: e["redundancy"][groups] for _, name, e in runs}
    places = list(dict.fromkeys(place for found in cells.values() for place in found))
    if not any(cell["samples"] for found in cells.values() for cell in found.values()):
        return None

    def draw(ax: Any) -> None:
        for order, (i, name, _) in enumerate(runs):
            known = [(j, c) for j, c in ((j, cells[name].get(place)) for j, place in enumerate(places)) if c]
            x = np.array([j for j, _ in known]) + 0.06 * (order - (len(runs) - 1) / 2)
            y = 100 * _nan(c["share"] for _, c in known)
            low, high = (100 * _nan(c["share_ci"][end] for _, c in known) for end in (0, 1))
            ax.vlines(x, low, high, color=color(i), linewidth=1)
            ax.plot(x, y, color=color(i), linestyle=dash(i), marker=marker(i), markersize=5)
        ax.set_xticks(range(len(places)), [short(p, 12) for p in places], rotation=0 if len(places) < 7 else 45)
        ax.set_ylim(0, 100)
        ax.set_xlabel(what)
        ax.set_ylabel("tokens after the answer, %")

    rows = [
        [name, place, percent(c["share"]), " to ".join(map(percent, c["share_ci"])), number(c["tokens"]), c["samples"]]
        for _, name, _ in runs
        for place, c in cells[name].items()
    ]
    summary = "; ".join(f"{name}: {percent(e['redundancy']['all']['share'], 0)} in all" for _, name, e in runs)
    return Figure(
        key,
        "Redundant tokens",
        f"Share of a correct sample's tokens after its first correct answer, by {what}, with 95 % intervals. {summary}.",
        ["run", what, "after the answer", "95 %", "tokens", "samples"],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
        note="after the first correct answer, bars 95 %",
    )


def tokens_by_verdict(key: str, runs: Runs) -> Figure | None:
    """Quartiles of the tokens of correct, incorrect, unanswered and undecided samples; whiskers end at the 95th percentile.

    None if no record has a verdict.
    """
    shown = [v for v in VERDICTS if any(e["tokens_by_verdict"][v]["samples"] for _, _, e in runs)]
    if not shown:
        return None

    def draw(ax: Any) -> None:
        height = 0.8 / len(runs)
        for place, (i, _, e) in enumerate(runs):
            for j, verdict in enumerate(shown):
                s = e["tokens_by_verdict"][verdict]
                if not s["samples"]:
                    continue
                y = j - 0.4 + (place + 0.5) * height
                ax.barh(
                    y, s["p75"] - s["p25"], left=s["p25"], height=0.7 * height, color=color(i), alpha=0.35, linewidth=0
                )
                ax.plot([s["p75"], s["p95"]], [y, y], color=color(i), linewidth=1)
                ax.plot(
                    [s["median"]],
                    [y],
                    marker=marker(i),
                    color=color(i),
                    markersize=min(6.0, 22 * height),
                    linestyle=dash(i),
                )
        ax.set_yticks(range(len(shown)), [v.replace("_", " ") for v in shown])
        ax.invert_yaxis()
        spans = [e["tokens_by_verdict"][v]["p95"] for _, _, e in runs for v in shown]
        ax.set_xlim(0, 1.05 * max((span for span in spans if span), default=1.0))
        ax.set_xlabel("tokens: quartiles, median, 95th percentile")

    rows = [
        [name, v.replace("_", " "), s["samples"], *(number(s[k], 0) for k in ("p25", "median", "p75", "p95", "mean"))]
        for _, name, e in runs
        for v in shown
        for s in [e["tokens_by_verdict"][v]]
    ]
    summary = "; ".join(
        f"{name}: median {number(e['tokens_by_verdict']['correct']['median'], 0)} when correct, "
        f"{number(e['tokens_by_verdict']['incorrect']['median'], 0)} when incorrect"
        for _, name, e in runs
    )
    return Figure(
        key,
        "Tokens by verdict",
        f"Spread of tokens by verdict. {summary}.",
        ["run", "verdict", "samples", "p25", "median", "p75", "p95", "mean"],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
    )


def first_right_answer(key: str, runs: Runs) -> Figure | None:
    """Position of the first statement of the answer in correct samples, as a share of their tokens; None if unknown."""
    known = [(i, name, e["first_correct"]) for i, name, e in runs if e["first_correct"]["samples"]]
    if not known:
        return None

    def draw(ax: Any) -> None:
        edges = np.arange(0, 101, 10)
        for i, _, f in known:
            ax.stairs(100 * _nan(f["histogram"]), edges, color=color(i), linestyle=dash(i), linewidth=1.8)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("position of the first correct answer, % of the tokens")
        ax.set_ylabel("correct samples, %")

    rows = [
        [name, f"{10 * i} to {10 * i + 10} %", percent(share)]
        for _, name, f in known
        for i, share in enumerate(f["histogram"])
    ]
    summary = "; ".join(
        f"{name}: on average at {percent(f['token_level_outcome_efficiency'], 0)}" for _, name, f in known
    )
    estimate = (
        " Estimated from characters for records without a token position."
        if any(f["estimated_samples"] for _, _, f in known)
        else ""
    )
    return Figure(
        key,
        "First correct answer",
        f"Where correct samples first state their answer. {summary}.{estimate}",
        ["run", "position", "correct samples"],
        rows,
        draw,
        [(i, name) for i, name, _ in runs],
    )


def benchmark_figures(prefix: str, runs: Runs, free: Sequence[str] = (), shown: Runs | None = None) -> list[Figure]:
    """The figures of one benchmark, without empty ones; keys begin with `prefix`. `shown`: runs of all but the first."""
    others = (
        accuracy_at_budget,
        tokens_by_level,
        tokens_by_verdict,
        first_right_answer,
        redundant_by_difficulty,
    )
    made = (function(f"{prefix}-{i}", shown or runs) for i, function in enumerate(others, start=1))
    return [accuracy_against_tokens(f"{prefix}-0", runs, free), *(figure for figure in made if figure is not None)]
