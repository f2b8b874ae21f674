"""Entry point of `accelerate launch -m tersely.launch.train --config RECIPE`: the same as `tersely train`."""

from __future__ import annotations

import sys

from tersely.launch.cli.train import main

if __name__ == "__main__":
    from tersely.launch.clean_exit import end_process
    from tersely.launch.cli.main import run_command

    end_process(run_command(main, sys.argv[1:]))
