"""Per-sample files of other harnesses, in and out."""
