import matplotlib.figure
from matplotlib.backends.backend_svg import FigureCanvasSVG

from tersely.eval.plots_labels import display_names, label_of, place_labels

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
    shown = display_names([*FREE, "grpo"], FREE)
    assert shown[FREE[1]] == "base, forced 64" and shown["grpo"] == "grpo" and shown["base"] == "base"
    assert shown[FREE[3]] == FREE[3] and shown[FREE[4]] == FREE[4], "names that would be the same stay whole"


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
