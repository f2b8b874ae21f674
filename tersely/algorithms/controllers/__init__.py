"""Controllers: each reads the metrics of a step and adjusts one setting, one method per file."""
