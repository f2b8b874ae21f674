"""The training loop: types, prompt memory, data, rollouts, trainer, stages."""
