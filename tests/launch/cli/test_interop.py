import json

import pytest
from support import tiny

from tersely.core.errors import ConfigError
from tersely.eval.run_arrays import load_runs
from tersely.launch.cli.interop import main


@pytest.mark.parametrize("harness", ["lm-eval", "lighteval"])
def test_there_and_back(runs, tmp_path, capsys, harness):
    assert main(["export", harness, str(runs[0]), "--out", str(tmp_path / "there")]) == 0
    files = capsys.readouterr().out.split()
    assert main(["import", harness, *files, "--out", str(tmp_path / "back"), "--name", "base"]) == 0
    before, after = load_runs(runs[0])[0], load_runs(tmp_path / "back")[0]
    assert after.name == "base"
    a, b = before.benchmarks["sums"], after.benchmarks["sums"]
    assert (a.correct[a.rows(b.problem_ids)] == b.correct).all() and (a.tokens[a.rows(b.problem_ids)] == b.tokens).all()


def test_decoding_strategies_stay_here(runs, tmp_path, write_run, capsys):
    write_run(runs[0], "base", problems=5, samples=2, strategy="no_thinking")
    main(["export", "lm-eval", str(runs[0]), "--out", str(tmp_path / "there")])
    (path,) = capsys.readouterr().out.split()
    main(["import", "lm-eval", path, "--out", str(tmp_path / "back")])
    assert load_runs(tmp_path / "back")[0].benchmarks["sums"].tokens.size == 320


def test_errors_are_one_line(runs, tmp_path):
    with pytest.raises(ConfigError, match="exists. Import into a new directory"):
        main(["export", "lm-eval", str(runs[0]), "--out", str(tmp_path / "there")])
        files = [str(path) for path in (tmp_path / "there").iterdir()]
        main(["import", "lm-eval", *files, "--out", str(runs[0])])
    with pytest.raises(FileNotFoundError, match="run `tersely eval` first"):
        main(["export", "lm-eval", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")])


COUNTDOWN = {
    "question": "Make 10 of 2, 3, 5.",
    "metadata": {"source_dataset": "countdown", "numbers": [2, 3, 5], "target": 10},
}


@pytest.mark.parametrize(
    ("options", "verdicts"),
    [
        ([], ["correct", "correct", "incorrect"]),  # any expression of the given numbers, and not their bare value
        (["--scorer", "verifier"], ["correct", "correct", "correct"]),
    ],
)
def test_samples_are_graded_by_the_scorer_of_their_data(tmp_path, options, verdicts):
    answers = ["2 + 3 + 5", "5 + 3 + 2", "10"]
    rows = [
        {
            "doc_id": index,
            "doc": COUNTDOWN,
            "target": "2 + 3 + 5",
            "resps": [[f"\\boxed{{{answer}}}"]],
            "filter": "none",
        }
        for index, answer in enumerate(answers)
    ]
    file = tmp_path / "samples_countdown.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    import_ = ["import", "lm-eval", str(file), "--out", str(tmp_path / "out"), "--grade", *options]
    assert main([*import_, "--tokenizer", str(tiny.save_tiny_model(tmp_path / "tiny"))]) == 0
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    assert [record["verdict"] for record in records] == verdicts


def test_a_scorer_without_grade_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="--grade"):
        main(["import", "lm-eval", "samples.jsonl", "--out", str(tmp_path), "--scorer", "reasoning_gym"])
