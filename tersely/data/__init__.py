"""Problems for training and evaluation: one loader for hub, local and procedural sources.

`load_problems(spec, seed=...)` gives a `datasets.Dataset` with the columns prompt, problem, answer, prompt_id, source
and level. Names are imported on first use, so that `datasets` is imported only when problems are loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "load_problems": "tersely.data.load",
    "load_problems_with_card": "tersely.data.load",
    "DataCard": "tersely.data.load_report",
    "SourceCard": "tersely.data.load_report",
    "DataError": "tersely.data.load_report",
    "SourceSpec": "tersely.configs.dataset",
    "parse_sources": "tersely.configs.dataset",
    "entry_names": "tersely.configs.dataset",
    "prompt_id": "tersely.data.ids",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely.data' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
