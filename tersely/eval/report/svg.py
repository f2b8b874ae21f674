"""Renders figures as inline SVG whose colours are the page's CSS variables.

matplotlib draws with stand-in colours, which are then replaced by `currentColor`, `var(--line)` and `var(--s0)` to
`var(--s7)`; text stays text. matplotlib is an optional extra: `available()` is True if it is installed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

INK, LINE = "#010203", "#040506"
SERIES = 8
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"
SIZE = (5.2, 3.5)  # inches; 374 points fit a phone without shrinking text


@dataclass(frozen=True)
class Figure:
    """Content of a figure: `draw` fills matplotlib axes, `head` and `rows` are its data table.

    `legend`: (number, name) of the runs; the number fixes colour, dash and marker, so a run looks the same in all figures.
    """

    key: str
    title: str
    alt: str
    head: list[str]
    rows: list[list[Any]]
    draw: Callable[[Any], None]
    legend: list[tuple[int, str]] = field(default_factory=list)
    note: str = ""


def available() -> bool:
    return find_spec("matplotlib") is not None


def color(i: int) -> str:
    return f"#0a0b0{i % SERIES}"


def dash(i: int) -> Any:
    return DASHES[i // SERIES % len(DASHES)]


def marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


def short(name: str, width: int = 26) -> str:
    return name if len(name) <= width else name[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"


def svg(figure: Figure) -> str:
    """One <svg> element without width, height, script or references outside itself; the same bytes for the same data."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "tersely",
        "text.parse_math": False,
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "font.family": "sans-serif",
        "legend.labelcolor": INK,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "lines.linewidth": 1.8,
    }
    with mpl.rc_context(style):
        canvas = Canvas(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(canvas)
        figure.draw(canvas.add_subplot())
        if figure.legend:
            handles = [
                Line2D([], [], color=color(i), linestyle=dash(i), marker=marker(i), markersize=5)
                for i, _ in figure.legend
            ]
            names = [short(name) for _, name in figure.legend]
            columns = max(1, min(len(names), int(62 // (max(map(len, names)) + 6))))
            canvas.legend(handles, names, loc="outside lower center", ncols=columns)
        out = io.StringIO()
        canvas.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _inline(out.getvalue(), figure.key)


def _inline(text: str, key: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, body = text[: text.index(">") + 1], text[text.index(">") + 1 :]
    head = re.sub(r'\s(width|height|xmlns:xlink|version)="[^"]*"', "", head)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{key}-\1"', body)
    body = re.sub(r'(xlink:)?href="#([^"]*)"', rf'href="#{key}-\2"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{key}-\1)", body)
    body = body.replace(INK, "currentColor").replace(LINE, "var(--line)")
    body = re.sub(r"#0a0b0([0-7])", r"var(--s\1)", body)
    body = re.sub(r"font: ([0-9.]+)px 'sans-serif'[^;\"]*", r"font-size: \1px", body)
    return head + body.strip()
