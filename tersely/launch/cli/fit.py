"""`tersely fit seal|diff_adapt MODEL RUN --out FILE`: fits the file that a decoding strategy needs from model traces.

RUN is an evaluated run (records.jsonl) of the same model. Fit on problems that you do not evaluate on later.
"""

from __future__ import annotations

from collections.abc import Sequence

from tersely.core.errors import ConfigError
from tersely.core.paths import path_option, place_option
from tersely.eval.decoding.traces import read_traces
from tersely.launch.cli.parser import Parser, whole


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="tersely fit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("strategy", choices=("seal", "diff_adapt"))
    parser.add_argument("model", type=place_option, help="hub id, folder, or `testbed`")
    parser.add_argument("run", type=path_option, help="evaluated run of this model: a directory with records.jsonl")
    parser.add_argument(
        "--benchmark",
        type=place_option,
        help="benchmark name or file that the run was evaluated on (default: as recorded)",
    )
    parser.add_argument("--out", type=path_option, required=True, help="output file, .safetensors")
    parser.add_argument(
        "--layer", type=whole(0), help="seal: layer whose output is read and steered (default: about 0.7 of the depth)"
    )
    parser.add_argument("--border", default="\n\n", help="seal: text that separates thoughts (default: an empty line)")
    options = parser.parse_args(argv)
    from tersely.eval.engines import transformers_evaluator

    evaluator = transformers_evaluator(options.model)
    traces = list(read_traces(evaluator, options.run, options.benchmark))
    if not traces:
        raise ConfigError(
            f"{options.run} has no vanilla samples; first evaluate the model with --out {options.run} and no --strategy"
        )
    if options.strategy == "seal":
        from tersely.eval.decoding.fit_seal import fit_seal

        border = options.border.replace("\\n", "\n")
        facts = fit_seal(evaluator.engine, traces, options.out, layer=options.layer, border=border)
    else:
        from tersely.eval.decoding.fit_probe import fit_probe

        facts = fit_probe(evaluator.engine, traces, options.out)
    print(f"{options.out}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    return 0
