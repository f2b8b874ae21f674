"""Short labels of the points of a figure, placed so that they do not overlap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tersely.eval.report.svg import short

SIZE = 8.5  # points
WIDE = 0.52  # mean character width / font size
OFFSETS = tuple((x, y) for y in (5, -11, 16, -22, 27, -33) for x in (6, -6))
GAP = 2  # minimum distance between labels, points


def label_of(name: str, free: Sequence[str] = ()) -> str:
    """`forced 64` and `no thinking` for the base's strategies; the beginning of any other name."""
    if name not in free[1:]:
        return short(name, 18)
    strategy = name.partition(" + ")[2] or name
    forced = re.match(r"forced_answer\(budget=(\d+)", strategy)
    return f"forced {forced[1]}" if forced else short(strategy.partition("(")[0].replace("_", " "), 18)


def labels_of(names: Sequence[str], free: Sequence[str]) -> list[str]:
    """Label of each run; equal labels get the strategy's parameters."""
    labels = [label_of(name, free) for name in names]
    count = Counter(labels)
    return [
        label if count[label] == 1 else short(name.partition(" + ")[2].replace("_", " ") or name, 26)
        for name, label in zip(names, labels, strict=True)
    ]


def display_names(names: Sequence[str], free: Sequence[str]) -> dict[str, str]:
    """Run name -> name on the page: strategies of the base by their labels, if these are unique."""
    strategies = [name for name in names if name in free[1:]]
    short_ones = {name: name for name in names} | dict(zip(strategies, labels_of(strategies, free), strict=True))
    count = Counter(short_ones.values())
    return {name: shown if count[shown] == 1 else name for name, shown in short_ones.items()}


def renamed(data: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """report.json's content with page names, so that tables, figures and conclusions agree."""

    def of(name: Any) -> Any:
        return names.get(name, name)

    return data | {
        "base": of(data["base"]),
        "free": [of(name) for name in data["free"]],
        "runs": [run | {"name": of(run["name"])} for run in data["runs"]],
        "comparisons": [
            c
            | {
                "run": of(c["run"]),
                "base": of(c["base"]),
                "free_frontier": [f | {"run": of(f["run"])} for f in c["free_frontier"]],
            }
            for c in data["comparisons"]
        ],
    }


def place_labels(ax: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Annotate (x, y, name) at the first offset that overlaps no label or point and stays inside the axes."""
    ax.figure.draw_without_rendering()  # the layout fixes the positions, and the SVG canvas the resolution
    scale = ax.figure.dpi / 72
    centres = ax.transData.transform([(x, y) for x, y, _ in points]) / scale if points else []
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in centres]
    inside = tuple(edge / scale for edge in ax.bbox.extents)
    for (x, y, name), (left, low) in zip(points, centres, strict=True):
        boxes = [(offset, _box(left, low, offset, len(name))) for offset in OFFSETS]
        offset, box = min(boxes, key=lambda pair: _cost(pair[1], taken, inside))
        taken.append((box[0] - GAP, box[1] - GAP, box[2] + GAP, box[3] + GAP))
        text = ax.annotate(
            name,
            (x, y),
            xytext=offset,
            textcoords="offset points",
            fontsize=SIZE,
            ha="left" if offset[0] > 0 else "right",
        )
        text.set_in_layout(False)  # otherwise the axes would shrink and the points would move away from their labels


def _box(x: float, y: float, offset: tuple[int, int], characters: int) -> tuple[float, float, float, float]:
    width = characters * SIZE * WIDE
    left = x + offset[0] - (width if offset[0] < 0 else 0)
    return left, y + offset[1], left + width, y + offset[1] + SIZE


def _cost(box: Sequence[float], taken: Sequence[Sequence[float]], inside: Sequence[float]) -> float:
    """Overlapping area plus the area outside the axes."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_overlap(box, other) for other in taken) + area - _overlap(box, inside)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Overlapping area."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
