"""Cold start: supervised training before reinforcement learning."""
