"""The losses of supervised training, one method a file."""
