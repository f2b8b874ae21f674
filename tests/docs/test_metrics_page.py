"""The table of docs/metrics.md is that of the code, and the pages name no metric that is not in it."""

from __future__ import annotations

import re
from pathlib import Path

import gen_tables as tables

from tersely.core.metric_names import METRICS, find

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_that_of_the_code():
    start, end = tables.markers("metrics")
    shown = (DOCS / "metrics.md").read_text().partition(start)[2].partition(end)[0].strip()
    assert shown == tables.metrics_table().strip(), "run: python docs/gen_tables.py --write docs/metrics.md"


def test_the_pages_name_metrics_that_exist():
    kinds = {name.partition("/")[0] for name in METRICS if "/" in name} - {"eval", "rewards"}
    named = re.compile(rf"`((?:{'|'.join(sorted(kinds))})/(?!\S*parquet)[\w.]+)`")
    for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"):
        for name in named.findall(page.read_text()):
            find(name)
