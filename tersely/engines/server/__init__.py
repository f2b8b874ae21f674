"""Rollouts from vLLM servers: requests, weights, and the processes themselves."""
