"""ALP on the embedded model, training all weights, a LoRA adapter, and steering vectors: same steps, prompts and rollouts.

    python benchmarks/adapters.py --record

writes benchmarks/results/adapters.json: trained parameters, accuracy and tokens with intervals over held-out problems, and the
change against the base, of every seed and over all seeds. What is in --out already is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeds import main, parser, testbed_recipe

if TYPE_CHECKING:
    from tersely.configs.recipe import Recipe

TRAINED: dict[str, dict[str, Any]] = {
    "all_weights": {},
    "lora": {"peft": {"rank": 8, "alpha": 16}, "learning_rate": 2e-3},
    "steering": {"peft": {"method": "steering"}, "learning_rate": 3e-2},
}
"""Changes of the recipe testbed/alp."""


def recipe_of(name: str, folder: Path, seed: int, options: argparse.Namespace) -> Recipe:
    return testbed_recipe("alp", folder, seed, options, {**TRAINED[name], "run_dir": str(folder / name)})


def parameters(name: str) -> int:
    """Number of trained parameters."""
    from tersely.configs.peft import PeftSpec
    from tersely.engines.model_checks import model_config
    from tersely.launch.preflight.model import shape_of

    shape = shape_of(model_config("testbed"), PeftSpec.of(TRAINED[name].get("peft")))
    return shape.adapter or shape.parameters


def trained_parts(folder: Path) -> dict[str, Any]:
    return {"trained": {name: {"parameters": parameters(name), "changes": TRAINED[name]} for name in TRAINED}}


if __name__ == "__main__":
    p = parser(__doc__, __file__, seeds="0", steps=40, prompts=4, problems=128)
    main(p.parse_args(), __file__, tuple(TRAINED), [("base", name) for name in TRAINED], recipe_of, trained_parts)
