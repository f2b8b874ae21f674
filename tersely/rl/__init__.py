"""Training: `run.py` runs a recipe, `trainer.py` is one step."""
