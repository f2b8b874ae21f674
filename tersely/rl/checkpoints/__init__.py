"""Complete checkpoints: save, verify, resume, roll back."""
