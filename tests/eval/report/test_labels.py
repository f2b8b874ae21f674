import io

import matplotlib.figure
from matplotlib.backends.backend_svg import FigureCanvasSVG

from tersely.eval.report.labels import display_names, label_of, labels_of, place_labels

FREE = [
    "base",
    "base + forced_answer(budget=64, answer_prefix=boxed)",
    "base + forced_answer(budget=0, answer_prefix=boxed)",
    "base + no_thinking",
    "base + no_thinking(prefill=)",
    "base + reflection_ban",
]


def test_names():
    assert [label_of(name, FREE) for name in FREE] == [
        "base", "forced 64", "forced 0", "no thinking", "no thinking", "reflection ban",
    ]  # fmt: skip
    assert label_of("a trained model with a long name", FREE) == "a trained model w\N{HORIZONTAL ELLIPSIS}"
    assert labels_of(FREE, FREE)[2:] == ["forced 0", "no thinking", "no thinking(prefill=)", "reflection ban"]
    shown = display_names([*FREE, "grpo"], FREE)
    assert shown[FREE[1]] == "forced 64" and shown["grpo"] == "grpo" and shown["base"] == "base"
    assert list(shown.values())[:6] == ["base", *labels_of(FREE, FREE)[1:]], "tables and figures use one name"
    assert display_names([*FREE, "forced 64"], FREE)[FREE[1]] == FREE[1], "names that would be the same stay whole"


def test_labels_keep_clear_of_each_other():
    figure = matplotlib.figure.Figure(figsize=(5.2, 3.5))
    FigureCanvasSVG(figure)
    ax = figure.add_subplot()
    points = [(10 + i % 3, 50 + i // 3, f"name {i}") for i in range(9)]
    ax.plot([x for x, _, _ in points], [y for _, y, _ in points], "o")
    place_labels(ax, points)
    boxes = [text.get_window_extent() for text in ax.texts]
    crossings = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(boxes) == 9 and crossings == 0
    place_labels(ax, [])


def test_labels_are_placed_where_the_picture_has_its_points():
    """The SVG canvas draws at 72 dots an inch, a figure begins at 100: in the wrong one `forced 128` covered `forced 64`."""
    figure = matplotlib.figure.Figure(figsize=(5.2, 3.5), layout="constrained")
    canvas = FigureCanvasSVG(figure)
    ax = figure.add_subplot()
    points = [(98.8, 78.8, "base"), (63.5, 89.6, "grpo"), (44.9, 92, "alp"), (35, 89.2, "dler"), (7, 26.2, "forced 0")]
    points += [
        (21.2, 20.6, "forced 16"),
        (34.9, 41.6, "forced 32"),
        (57.2, 60.2, "forced 64"),
        (83.6, 72, "forced 128"),
    ]
    points += [(16.1, 7.7, "no thinking"), (46.6, 78.6, "reflection ban")]
    ax.plot([x for x, _, _ in points], [y for _, y, _ in points], "o")
    ax.set_xscale("log", base=2)
    ax.margins(0.16, 0.12)
    place_labels(ax, points)
    canvas.print_svg(io.StringIO())
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    assert not [(a, b) for a in boxes for b in boxes if a < b and boxes[a].overlaps(boxes[b])]
    left, _, right, _ = ax.bbox.extents
    assert all(left <= box.x0 and box.x1 <= right for box in boxes.values())
