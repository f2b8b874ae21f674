"""Builds report.md: the conclusions and the tables, for a pull request. Model text never appears in it."""

from __future__ import annotations

from typing import Any

from tersely.eval.report.conclusion import ended_text, problems_text, settings_notes
from tersely.eval.report.labels import display_names, renamed


def percent(x: float | None, digits: int = 1) -> str:
    return "-" if x is None else f"{100 * x:.{digits}f}"


def count(x: float | None, digits: int = 0) -> str:
    return "-" if x is None else f"{x:.{digits}f}"


def plain(name: Any) -> str:
    """A name without characters that break a table or are markup."""
    text = " ".join(str(name).split())
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, "\\" + mark if mark != "<" else "&lt;")
    return text


def markdown(data: dict[str, Any]) -> str:
    """The report as markdown, from the content of report.json."""
    shown = display_names([run["name"] for run in data["runs"]], data["free"])
    data = renamed(data, shown)
    parts = ["# Report", *_verdicts(data)]
    strategies = [f"{plain(name)} is {plain(whole)}" for whole, name in shown.items() if name != whole]
    parts += [f"Decoding strategies: {'; '.join(strategies)}."] if strategies else []
    names = sorted({name for run in data["runs"] for name in run["benchmarks"]})
    for name in names:
        runs = [(run["name"], run["benchmarks"][name]) for run in data["runs"] if name in run["benchmarks"]]
        parts += [
            f"## {plain(name)}",
            _benchmark_table(runs),
            *_level_table(runs),
            *_redundancy_table(runs),
            f"Difficulty: {plain(data['difficulty'][name])}. Easiest half: its share of all tokens.",
        ]
    parts += ["## How it was computed", _method(data)]
    return "\n\n".join(parts) + "\n"


def _verdicts(data: dict[str, Any]) -> list[str]:
    if not data["comparisons"]:
        return ["Nothing to compare: name a base run with `--base`."]
    lines = [
        f"- **{plain(c['run'])}** against {plain(c['base'])} on {plain(c['benchmark'])} ({problems_text(c)}): "
        + c["verdict"]
        + (f"; {plain(ended_text(c))}" if ended_text(c) else "")
        + "".join(f"; {plain(line)}" for line in settings_notes(c))
        + "".join(f"; **{plain(f['run'])} does better without training**" for f in c["free_frontier"] if f["dominates"])
        for c in data["comparisons"]
    ]
    without = "These runs do not include the base's training-free decoding strategies (`tersely eval --frontier`)."
    return ["\n".join(lines), *([] if data["free"] else [without])]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _benchmark_table(runs: list[tuple[str, dict[str, Any]]]) -> str:
    head = [
        "run",
        "problems x samples",
        "accuracy %",
        "95 %",
        "if ended %",
        "tokens",
        "95 %",
        "p95",
        "truncated %",
        "undecided %",
        "tokens per solved",
        "adaptation ratio",
        "easiest half %",
    ]
    rows = []
    for name, e in runs:
        low, high = e["accuracy_ci"]
        rows.append(
            [
                plain(name),
                f"{e['problems']} x {e['samples'] / max(1, e['problems']):g}",
                percent(e["accuracy"]),
                f"{percent(low)} to {percent(high)}",
                percent(e["accuracy_ended"]),
                count(e["tokens_mean"], 1),
                f"{count(e['tokens_ci'][0], 1)} to {count(e['tokens_ci'][1], 1)}",
                count(e["tokens"]["p95"]),
                percent(e["truncated"]),
                percent(e["undecided"]),
                count(e["tokens_per_solved"], 1),
                count(e["adaptation_ratio"], 2),
                percent(e["token_share_easiest_half"]),
            ]
        )
    return table(head, rows)


def _level_table(runs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    levels = list(dict.fromkeys(level for _, e in runs for level in e["by_level"]))
    if not levels:
        return []
    head = ["level", *(f"{plain(name)}: {what}" for name, _ in runs for what in ("accuracy %", "tokens"))]
    rows = []
    for level in levels:
        cells = [e["by_level"].get(level, {"accuracy": None, "tokens_mean": None}) for _, e in runs]
        rows.append(
            [
                plain(level),
                *(text for cell in cells for text in (percent(cell["accuracy"]), count(cell["tokens_mean"], 1))),
            ]
        )
    return [table(head, rows)]


def _redundancy_table(runs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Share of the tokens after the first correct answer, in all and by level or solve rate; nothing where it is unknown."""
    if not any(e["redundancy"]["all"]["samples"] for _, e in runs):
        return []
    by = "by_level" if any(e["redundancy"]["by_level"] for _, e in runs) else "by_difficulty"
    places = list(dict.fromkeys(place for _, e in runs for place in e["redundancy"][by]))
    head = [
        "after the first correct answer",
        *(f"{plain(name)}: {what}" for name, _ in runs for what in ("%", "tokens")),
    ]
    rows = []
    for place in ("all", *places):
        row = [plain(place if place == "all" else f"{by[3:].replace('difficulty', 'solve rate')} {place}")]
        for _, e in runs:
            found = e["redundancy"]
            c = found["all"] if place == "all" else found[by].get(place)
            row += ["-", "-"] if c is None else [f"{percent(c['share'])} ({_ends(c)})", count(c["tokens"], 1)]
        rows.append(row)
    return [table(head, rows)]


def _ends(cell: dict[str, Any]) -> str:
    low, high = cell["share_ci"]
    return f"{percent(low)} to {percent(high)}"


def _method(data: dict[str, Any]) -> str:
    settings = data["settings"]
    weights = ", ".join(f"{k} {v:g}" for k, v in settings["aes_weights"].items())
    return (
        "Accuracy is the mean over samples, then problems. An answer in a truncated completion counts; `if ended` is the "
        f"accuracy if it does not. Intervals: {settings['level']:.0%} percentile bootstrap over "
        f"problems, {settings['draws']} resamples, seed {settings['seed']}; over seeds, then problems, for several seeds. "
        "Comparisons pair the same problems. Every conclusion needs p < 0.05 after Holm's correction over all comparisons "
        "of the report: a paired permutation test for tokens, better and worse, and a non-inferiority test for "
        f"not worse by more than {100 * settings['margin']:g} pt. Undecided: at this difference and spread, this number of "
        "additional problems would give a conclusion. "
        f"Undecided samples are left out of the accuracy and counted separately. AES weights: {weights}."
    )
