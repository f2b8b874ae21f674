"""Settings that follow the run: each is fed the metrics of a step and moves one number. One method a file."""
