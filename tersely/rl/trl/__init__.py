"""What we take from TRL: its trainer, the seams that we override, the fields that we do not read."""
