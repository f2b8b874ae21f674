"""Makes the testbed's model from nothing: a cold start, then plain GRPO without a length term, to its ceiling.

A run that was stopped goes on where it was: after the last cycle of its cold start, or from the last checkpoint of GRPO.
"""

from __future__ import annotations

import json
from pathlib import Path

from tersely.core.files import write_json
from tersely.core.logging import log_line
from tersely.testbed.cold_start import TOKENS, cold_start, save
from tersely.testbed.families import CAP
from tersely.testbed.tokenizer import build_tokenizer

STEPS = 30
"""GRPO steps of 128 completions."""
LEARNING_RATE = 5e-5
"""Of GRPO: at the 2e-4 of the testbed's recipes redundancy drifts away although it costs nothing."""


def make(out_dir: str | Path, seed: int = 0, tokens: int = TOKENS, steps: int = STEPS) -> Path:
    """Train for about `tokens` tokens and then `steps` steps; returns the folder of the model, `out_dir`/model."""
    from transformers import Qwen2ForCausalLM

    from tersely.configs.load import load_recipe
    from tersely.rl.run import train

    _require_same(Path(out_dir) / "settings.json", {"seed": seed, "tokens": tokens})
    start, run = Path(out_dir) / "cold-start", Path(out_dir) / "grpo"
    if (start / "config.json").exists():
        log_line(f"cold start: already made, in {start}")
    else:
        loss = cold_start(start, seed, tokens)
        log_line(f"cold start: {start}, last loss {loss:.4f} nats per token")
    recipe = load_recipe(
        "testbed/grpo",
        {
            "model_name_or_path": str(start),
            "run_dir": str(run),
            "max_steps": steps,
            "lr_scheduler_type": "constant_with_warmup",
            "max_completion_length": 2 * CAP,
            "learning_rate": LEARNING_RATE,
            "seed": seed,
        },
    )
    if not (run / "final" / "config.json").exists():
        train(recipe, resume=run.exists())
    model = Qwen2ForCausalLM.from_pretrained(run / "final", dtype="float32")
    save(model, build_tokenizer(), Path(out_dir) / "model")
    return Path(out_dir) / "model"


def _require_same(file: Path, settings: dict[str, int]) -> None:
    """Write the settings of a new folder; ValueError if the folder was made with others."""
    if file.exists():
        before = json.loads(file.read_text())
        for name, value in settings.items():
            if before[name] != value:
                raise ValueError(
                    f"{name}: got {value}, but {file.parent} was made with {before[name]}; choose another --out"
                )
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
