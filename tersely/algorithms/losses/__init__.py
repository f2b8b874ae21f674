"""Per-token losses, one method per file."""
