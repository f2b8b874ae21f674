"""Complete checkpoints: written, verified, resumed from, rolled back to."""
