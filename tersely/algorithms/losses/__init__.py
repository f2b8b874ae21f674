"""The per-token losses, one method a file."""
