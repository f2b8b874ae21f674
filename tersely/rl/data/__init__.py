"""Problems to train and evaluate on: one loader for hub, local and procedural sources.

`load_problems(spec, seed=...)` gives a `datasets.Dataset` with the columns prompt, problem, answer, prompt_id, source
and level. Names are imported on first use: nothing here costs an import of `datasets` until problems are loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "load_problems": "tersely.rl.data.load",
    "load_problems_with_card": "tersely.rl.data.load",
    "DataCard": "tersely.rl.data.card",
    "SourceCard": "tersely.rl.data.card",
    "DataError": "tersely.rl.data.card",
    "SourceSpec": "tersely.rl.data.spec",
    "parse_sources": "tersely.rl.data.spec",
    "entry_names": "tersely.rl.data.spec",
    "prompt_id": "tersely.rl.data.identity",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tersely.rl.data' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
