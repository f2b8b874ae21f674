"""The cold start: supervised training before reinforcement learning."""
