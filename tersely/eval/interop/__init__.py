"""Import and export of the per-sample files of other harnesses."""
