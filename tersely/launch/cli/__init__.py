"""The commands, one file per command; `main.py` has the table."""
