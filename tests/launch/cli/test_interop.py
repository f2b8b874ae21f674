import pytest

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
