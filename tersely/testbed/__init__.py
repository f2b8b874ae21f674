"""The testbed, the default model: a tiny overthinking reasoner, its procedural problems, and the code that trains it."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """The folder of the shipped weights and tokenizer, as `from_pretrained` takes it."""
    return Path(__file__).parent / "model"
