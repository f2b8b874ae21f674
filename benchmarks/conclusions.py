"""How often a comparison concludes wrongly: simulated evaluations without an effect, through `compare` itself.

    python benchmarks/conclusions.py [--draws 400]

Prints, for 2, 8 and 30 problems, the share of comparisons that say "fewer tokens" where both runs are the same model, and the
share that says "not worse" where the run's true loss equals the margin (1 and 5 points). Both should be at most 5 %.
"""

from __future__ import annotations

import argparse

import numpy as np

from tersely.eval.report_compare import compare_all
from tersely.eval.runs import BenchmarkRecords, RunRecords

PROBLEMS = (2, 8, 30)
MARGINS = (0.01, 0.05)


def run(name: str, correct: np.ndarray, tokens: np.ndarray) -> RunRecords:
    """A run with these (Q, n) values."""
    shape = correct.shape
    nothing = np.full(shape, np.nan)
    records = BenchmarkRecords(
        [str(q) for q in range(shape[0])],
        [None] * shape[0],
        correct.astype(float),
        tokens.astype(float),
        nothing,
        nothing,
        nothing,
        1 - correct,
        np.full(shape, None, dtype=object),
        np.full(shape, -1, dtype=np.int64),
        nothing,
    )
    return RunRecords(name, None, {}, {"simulated": records})


def conclusions(rng: np.random.Generator, problems: int, samples: int, loss: float, margin: float) -> tuple[str, str]:
    """(tokens, accuracy) conclusion of one simulated comparison: equal lengths, accuracy lower by `loss`."""
    shape = (problems, samples)
    difficulty = rng.beta(4, 1, (problems, 1))  # mean accuracy 0.8
    length = rng.lognormal(4, 0.8, (problems, 1))
    sampled = [
        run(
            name,
            rng.random(shape) < difficulty * (1 - lost / 0.8),
            np.ceil(length * rng.lognormal(0, 0.4, shape)),
        )
        for name, lost in (("base", 0.0), ("run", loss))
    ]
    (c,) = compare_all(sampled[1:], sampled[0], margin)
    return c["tokens_verdict"], c["accuracy_verdict"]


def share(problems: int, samples: int, loss: float, margin: float, draws: int) -> dict[str, float]:
    """Shares of "fewer" and of "not worse" (or better) among `draws` comparisons."""
    rng = np.random.default_rng([problems, samples, int(1000 * loss)])
    found = [conclusions(rng, problems, samples, loss, margin) for _ in range(draws)]
    return {
        "fewer": float(np.mean([tokens == "fewer" for tokens, _ in found])),
        "not_worse": float(np.mean([accuracy in ("not_worse", "better") for _, accuracy in found])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400, help="simulated comparisons per row")
    options = parser.parse_args()
    print("problems  samples  margin  false 'fewer tokens'  false 'not worse' at a loss of the margin")
    for problems in PROBLEMS:
        for samples in (1, 4):
            for margin in MARGINS:
                found = share(problems, samples, margin, margin, options.draws)
                print(
                    f"{problems:8}  {samples:7}  {100 * margin:3.0f} pt  {100 * found['fewer']:19.1f} %  "
                    f"{100 * found['not_worse']:38.1f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
