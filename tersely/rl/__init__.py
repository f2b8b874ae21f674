"""Training: `run.py` runs a recipe, `trainer.py` has the training step."""
