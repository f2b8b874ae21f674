"""Rollouts from vLLM servers: requests, weight sync, and the server processes."""
