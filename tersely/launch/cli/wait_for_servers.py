"""Waits until rollout servers are up; SLURM job scripts run it before the training.

`python -m tersely.launch.cli.wait_for_servers --pid PID ADDRESS...`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import psutil

from tersely.core.http import ServerDown, wait_until_up
from tersely.launch.cli.parser import number, whole


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when all servers answer; 1 with a reason if one does not in time, or if process PID has ended."""
    parser = argparse.ArgumentParser(prog="tersely.launch.cli.wait_for_servers")
    parser.add_argument("addresses", nargs="+")
    parser.add_argument(
        "--pid", type=whole(1), required=True, help="process that starts the servers; waiting stops when it ends"
    )
    parser.add_argument("--deadline", type=number(above=0), default=600.0)
    options = parser.parse_args(argv)

    alive = partial(psutil.pid_exists, options.pid)
    for address in options.addresses:
        try:
            wait_until_up(
                address,
                "/health",
                deadline_s=options.deadline,
                alive=alive,
                tell=_tell,
            )
        except ServerDown as error:
            _tell(str(error))
            return 1
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
