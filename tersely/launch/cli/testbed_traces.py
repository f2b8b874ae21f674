"""`tersely testbed traces`: writes solutions of the testbed's problems with varied redundancy, for a cold start."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from tersely.core.files import replace
from tersely.core.paths import path_option
from tersely.launch.cli.parser import Parser, number, require_jsonl, whole


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely testbed traces",
        description="Write correct solutions of training problems of the dataset `testbed`, short ones and redundant ones, "
        "one JSON object per line. A cold start reads the file as its `traces`.",
    )
    parser.add_argument("--out", type=path_option, required=True, help="file to write, ending in .jsonl")
    parser.add_argument("--count", type=whole(1), default=4096, help="number of traces (default: %(default)s)")
    parser.add_argument(
        "--mistaken",
        type=number(at_least=0, at_most=1),
        default=0.0,
        help="share of the traces with a mistake and its correction (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="random seed (default: %(default)s)")
    options = parser.parse_args(argv)
    require_jsonl("--out", options.out)
    lines = [json.dumps(row) + "\n" for row in traces(options.count, options.seed, options.mistaken)]
    replace(options.out, "".join(lines))
    print(f"{options.out}: {len(lines)} traces")
    return 0


def traces(count: int, seed: int, mistaken: float) -> list[dict[str, object]]:
    """One trace per training problem: problem, gold, text, correct, level, family."""
    from tersely.testbed.families import FAMILIES
    from tersely.testbed.families.problems import problems
    from tersely.testbed.families.writing import draw_habits

    found = []
    for index, item in enumerate(problems("train", count, seed)):
        rng, family = random.Random(f"families|traces|{seed}|{index}"), FAMILIES[str(item["family"])]
        pieces = family.trace(item["problem"], rng, draw_habits(rng, family.MOST_LOOKS, mistaken))
        row = {"problem": item["problem"], "gold": item["answer"], "text": "".join(piece.text for piece in pieces)}
        found.append({**row, "correct": 1, "level": item["level"], "family": item["family"]})
    return found
