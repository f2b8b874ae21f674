"""The testbed: a tiny embedded model that overthinks, its procedural problems, and the code that trains it."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """Folder of the shipped weights and tokenizer, for `from_pretrained`."""
    return Path(__file__).parent / "model"
