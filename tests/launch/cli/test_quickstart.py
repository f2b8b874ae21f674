"""The quickstart around its training: the base stands in for the trained model, everything else is real."""

from __future__ import annotations

import json
import shutil

import pytest

from tersely.engines.model_folder import model_location
from tersely.launch.cli import quickstart


@pytest.mark.slow
def test_evaluations_report_and_verdict_and_a_second_start_redoes_nothing(tmp_path, capsys):
    final = tmp_path / "alp" / "final"
    shutil.copytree(model_location("testbed"), final)
    arguments = ["--out", str(tmp_path), "--problems", "6", "--samples", "2"]
    assert quickstart.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "alp: already trained" in printed and "alp against base" in printed and "report.md" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert [run["name"] for run in report["runs"]] == ["base", "alp"]
    facts = report["runs"][1]["benchmarks"]["testbed"]
    assert {"accuracy", "accuracy_ci", "tokens_mean", "tokens_ci", "truncated", "by_level"} <= facts.keys()
    assert report["comparisons"][0]["tokens_change"] == pytest.approx(0.0, abs=1e-9), "the same model, the same seeds"
    assert (tmp_path / "report.html").exists()

    records = (tmp_path / "eval" / "base" / "records.jsonl").read_bytes()
    assert quickstart.main(arguments) == 0
    assert (tmp_path / "eval" / "base" / "records.jsonl").read_bytes() == records


def test_an_unknown_method_is_named_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="recipe 'testbed/alpp'.*testbed/alp"):
        quickstart.main(["--methods", "alp,alpp", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())
