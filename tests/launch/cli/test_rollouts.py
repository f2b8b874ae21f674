"""`tersely rollouts` on the tiny model: kept samples, another start, and a cold start's view of the file."""

from __future__ import annotations

import json

import pytest

from tersely.configs.cold_start import TracesSpec
from tersely.core.errors import ConfigError
from tersely.launch.cli.rollouts import main
from tersely.rl.sft.traces import read_traces


def lines(path):
    """The records without their timing."""
    return [{**json.loads(line), "wall_s": 0} for line in path.read_text().splitlines()]


def test_every_sample_is_drawn_once_and_the_kept_ones_are_traces(tiny_model, tmp_path):
    out = tmp_path / "traces.jsonl"
    command = [str(tiny_model), "testbed", "--limit", "3", "--max-new-tokens", "4", "--out", str(out)]
    assert main([*command, "--samples", "2"]) == 0
    records = tmp_path / "traces.jsonl.samples" / "records.jsonl"
    assert lines(out) == [], "a model without training is not correct in four tokens"
    assert len(lines(records)) == 6
    whole = lines(records)
    records.write_bytes(records.read_bytes()[:-40])  # killed in the middle of a line
    assert main([*command, "--samples", "2", "--keep", "all"]) == 0
    assert lines(records) == whole, "the lost sample again, and no other"
    assert [row["text"] for row in lines(out)] == [row["text"] for row in lines(records)]
    traces = read_traces(TracesSpec.of(str(out)), 0, None, None)
    assert traces.known == [False] * 6 and len({row["prompt_id"] for row in traces.rows}) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["testbd", "--out", "x.jsonl"], "DATA.*'testbd'.*'testbed'"),
        (["none.jsonl", "--out", "x.jsonl"], "none.jsonl"),
        (["testbed", "--out", "folder"], "--out.*'folder'.*jsonl"),
    ],
)
def test_mistakes_are_found_before_the_model_is_looked_for(tmp_path, arguments, words):
    with pytest.raises(ConfigError, match=words):
        main([str(tmp_path / "no-model"), *arguments])
