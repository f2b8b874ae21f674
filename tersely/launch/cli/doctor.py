"""`tersely doctor`: checks the installation and the hardware, and suggests fixes."""

from __future__ import annotations

from collections.abc import Sequence

from tersely.core.findings import as_json, failed, show
from tersely.launch.cli.parser import Parser
from tersely.launch.preflight.doctor import examine


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a check fails."""
    parser = Parser(
        prog="tersely doctor",
        description="Check the installation and the hardware: versions, GPUs, NCCL, vLLM, DeepSpeed, hub, limits, disk.",
    )
    parser.add_argument("--json", action="store_true", help="print findings as JSON")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also import vLLM and DeepSpeed, and run an all-reduce over NCCL (up to a minute each)",
    )
    options = parser.parse_args(argv)
    found = examine(options.deep)
    bad = failed(found)
    if options.json:
        print(as_json(found))
    else:
        warned = sum(finding.level == "warn" for finding in found)
        show(found, f"{len(bad)} failed, {warned} warnings, {len(found) - len(bad) - warned} passed")
    return 1 if bad else 0
