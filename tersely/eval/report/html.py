"""Builds report.html: one file, no network, from report.json, the run folders and a jinja2 template.

The template escapes all text from models, datasets and run cards, and the page's content security policy allows no
script except its own. The same runs give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

from tersely.eval.report.audit import audit_of
from tersely.eval.report.conclusion import ended_text, settings_notes, signed
from tersely.eval.report.figures import benchmark_figures
from tersely.eval.report.figures_allocation import ideal_budgets
from tersely.eval.report.figures_forced import forced_answer_curve
from tersely.eval.report.glossary import glossary
from tersely.eval.report.labels import display_names, renamed
from tersely.eval.report.samples import worst_samples
from tersely.eval.report.svg import SERIES, Figure, available, svg
from tersely.eval.report.training_curves import Curves, read_metrics, training_figures, zero_throughout
from tersely.eval.run_arrays import RunRecords

TEMPLATES = Path(__file__).parent / "templates"
TEXT_BUDGET = 2_500_000  # maximum characters of model text on the page


def html(data: dict[str, Any], runs: list[RunRecords], base: RunRecords | None, refresh: int | None = None) -> str:
    """Render the page. `data`: the result of report_data for these runs and this base."""
    import jinja2
    from markupsafe import Markup

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        p=_p_value,
        pct=_percent,
        num=_number,
        signed=lambda x, d=1: signed(x, d),
        by=lambda x: "" if x is None else x,
        ended_text=ended_text,
        settings_notes=settings_notes,
    )
    shown = display_names([run["name"] for run in data["runs"]], data["free"])
    data, full = renamed(data, shown), {name: whole for whole, name in shown.items()}
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    pictures = available()
    return env.get_template("report.html.j2").render(
        data=data,
        base=data["base"],
        runs=data["runs"],
        comparisons=sorted(data["comparisons"], key=lambda c: c["run"] in data["free"]),  # trained runs first
        series=SERIES,
        full=full,
        aliases=[(name, whole) for name, whole in full.items() if name != whole],
        glossary=glossary(data),
        names=sorted({name for run in data["runs"] for name in run["benchmarks"]}),
        sections=_sections(data, pictures),
        training=_rendered(training_figures(curves := _curves(runs)), pictures),
        zero=zero_throughout(curves),
        pictures=pictures,
        samples=_samples(runs, base),
        audits=_audits(runs),
        cards=[_card(run) for run in _folders(runs)],
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=digest,
        refresh=refresh,
    )


def _p_value(x: float | None) -> str:
    return "< 0.001" if x is not None and x < 0.001 else _number(x, 3)


def _percent(x: float | None, digits: int = 1) -> str:
    return "\N{EN DASH}" if x is None else f"{100 * x:.{digits}f}"


def _number(x: float | None, digits: int = 0) -> str:
    return "\N{EN DASH}" if x is None else f"{x:,.{digits}f}"


def _sections(data: dict[str, Any], pictures: bool) -> list[dict[str, Any]]:
    """One section per benchmark: its runs and its figures."""
    sections = []
    for index, name in enumerate(sorted({name for run in data["runs"] for name in run["benchmarks"]})):
        runs = [
            (i, run["name"], run["benchmarks"][name]) for i, run in enumerate(data["runs"]) if name in run["benchmarks"]
        ]
        sections.append(
            {
                "name": name,
                "id": f"bench-{index}",
                "runs": [run[1:] for run in runs],
                "shown": [run[1:] for run in runs if run[1] not in data["free"][1:]],
                "difficulty": data["difficulty"][name],
                "volume": data["hypervolume"][name],
                "aes": {c["run"]: c["aes"] for c in data["comparisons"] if c["benchmark"] == name},
                "matched": {c["run"]: c["matched_tokens"] for c in data["comparisons"] if c["benchmark"] == name},
                "levels": list(dict.fromkeys(level for _, _, e in runs for level in e["by_level"])),
                "by_difficulty": any(row["problems"] for _, _, e in runs for row in e["by_difficulty"]),
                "passes": [
                    (kind, k)
                    for kind in ("pass_at", "majority_at")
                    for k in ("4", "16")
                    if any(e[kind][k] is not None for _, _, e in runs)
                ],
                "asked": any(entry["adherence"] for _, _, entry in runs),
                "figures": _rendered(_figures(f"b{index}", runs, data, name), pictures),
            }
        )
    return sections


def _figures(prefix: str, runs: Any, data: dict[str, Any], benchmark: str) -> list[Figure]:
    """Figures of a benchmark; only accuracy against tokens shows the base's strategies, which have their own figure."""
    strategies = set(data["free"][1:])
    forced = forced_answer_curve(f"{prefix}-f", data["forced"][benchmark], {name: i for i, name, _ in runs})
    shown = [run for run in runs if run[1] not in strategies]
    ideal = ideal_budgets(f"{prefix}-i", data["allocation"][benchmark], shown)
    plane, *others = benchmark_figures(prefix, runs, data["free"], shown)
    return [plane, *(figure for figure in (forced, ideal) if figure is not None), *others]


def _rendered(figures: list[Figure], pictures: bool) -> list[dict[str, Any]]:
    from markupsafe import Markup

    return [
        {
            "key": f.key,
            "title": f.title,
            "alt": f.alt,
            "note": f.note,
            "head": f.head,
            "rows": f.rows,
            "svg": Markup(svg(f)) if pictures else None,
        }
        for f in figures
    ]  # matplotlib escapes names


def _folders(runs: list[RunRecords]) -> list[RunRecords]:
    """One run per folder: decoding strategies share a card, and every seed has its own."""
    found: dict[Any, RunRecords] = {}
    for one in (one for run in runs for one in run.members or [run]):
        found.setdefault(one.folder or one.name, one)
    return list(found.values())


def _curves(runs: list[RunRecords]) -> Curves:
    number = {id(one): i for i, run in enumerate(runs) for one in run.members or [run]}
    curves = [(number[id(run)], run.name, read_metrics(run.training_folder())) for run in _folders(runs)]
    return [curve for curve in curves if curve[2]]


def _samples(runs: list[RunRecords], base: RunRecords | None) -> list[dict[str, Any]]:
    """The worst samples of every trained run; if there is only one run, of that run."""
    shown = [run for run in runs if run is not base and run.strategy is None and run.path] or [
        run for run in runs if run.path
    ][:1]
    limit = max(1000, min(12_000, TEXT_BUDGET // max(1, 40 * len(shown))))
    return [sample for run in shown for sample in worst_samples(run, base, limit)]


def _audits(runs: list[RunRecords]) -> list[tuple[str, dict[str, Any]]]:
    found = [(run.name, audit_of(run)) for run in _folders(runs)]
    return [(name, audit) for name, audit in found if audit is not None]


def _card(run: RunRecords) -> dict[str, Any]:
    """Details of a run: run.json, and a training run's environment and configuration."""
    card = dict(run.card)
    trained = run.training_folder() or run.folder
    environment = _json(trained, "environment.json")
    commands = [("evaluated with", card.pop("command", None)), ("trained with", environment.pop("command", None))]
    config = trained / "config.yaml" if trained else None
    facts = [(key, value) for source in (card, environment) for key, value in _flat(source)]
    return {
        "name": run.name,
        "folder": run.folder.name if run.folder else "",
        "facts": facts,
        "commands": [
            (what, shlex.join(map(str, command)) if isinstance(command, list) else str(command))
            for what, command in commands
            if command
        ],
        "config": config.read_text(encoding="utf-8", errors="replace") if config and config.is_file() else None,
        "dropped": run.dropped,
        "duplicates": run.duplicates,
        "notes": run.notes,
    }


def _json(folder: Path | None, name: str) -> dict[str, Any]:
    path = folder / name if folder else None
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}
    except ValueError:
        found = {name: "unreadable"}
    return found if isinstance(found, dict) else {}


def _flat(source: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in source.items():
        if isinstance(value, dict):
            facts += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            facts.append((prefix + str(key), re.sub(r"\s+", " ", text)[:400]))
    return facts
