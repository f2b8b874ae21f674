"""The commands, one thin file per command; the table is in `main.py`."""
