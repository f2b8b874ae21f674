"""The command line (`cli`), the checks before a run (`preflight`), and launching on one machine or on SLURM."""
