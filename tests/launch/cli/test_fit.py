"""The vector of seal and the probe of diff_adapt, fitted on the testbed's own traces and used."""

import pytest
import torch
from safetensors import safe_open

from tersely.core.errors import ConfigError
from tersely.data.benchmarks import Sampling
from tersely.eval.decoding.fit_probe import label, train
from tersely.eval.decoding.fit_seal import thoughts
from tersely.eval.metrics.segments import kind_of
from tersely.launch.cli.eval import main as evaluate
from tersely.launch.cli.fit import main


class Unused:
    """A verifier for evaluators that verify nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("traces")
    evaluate(["testbed", "--benchmarks", "testbed", "--limit", "24", "--samples", "2", "--out", str(out)])
    return out


def test_kinds_and_borders():
    assert [kind_of(t) for t in ("Wait, no", "Another way is", "2 + 2 = 4")] == [
        "reflection",
        "transition",
        "execution",
    ]
    text = "first\n\nWait.\n\n\n\nso 3\n\n</think>\n\nanswer"
    assert [thought for _, thought in thoughts(text, "\n\n")] == ["Wait.", "so 3"]
    assert all(text[:opened].endswith("\n\n") for opened, _ in thoughts(text, "\n\n"))


def test_seal_from_traces(run, tmp_path, capsys):
    from tersely.eval.decoding.base import Prompt
    from tersely.eval.decoding.seal import Seal
    from tersely.eval.decoding.vanilla import Vanilla
    from tersely.eval.engines import transformers_evaluator
    from tersely.testbed.families.problems import problems

    path = tmp_path / "vector.safetensors"
    assert main(["seal", "testbed", str(run), "--out", str(path), "--border", "\\n"]) == 0
    assert "execution" in capsys.readouterr().out
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["border"] == "\n" and file.get_tensor("vector").isfinite().all()
    evaluator = transformers_evaluator("testbed", verifier=Unused())
    prompts = [
        Prompt(f"p{n}", 0, evaluator.render([{"role": "user", "content": str(item["problem"])}]), 96)
        for n, item in enumerate(problems("test", 16))
    ]
    greedy = Sampling(temperature=0.0, top_p=1.0)
    plain, still, moved = (
        [one.token_ids for one in strategy(evaluator.engine, prompts, greedy, 0)]
        for strategy in (Vanilla(), Seal(str(path), alpha=0.0), Seal(str(path), alpha=2.0))
    )
    assert plain == still and plain != moved
    with pytest.raises(ConfigError, match="--layer.* 99.* 0 to"):
        main(["seal", "testbed", str(run), "--out", str(path), "--layer", "99"])
    with pytest.raises(ConfigError, match="expected both"):
        main(["seal", "testbed", str(run), "--out", str(path), "--border", "no such border"])


def test_a_probe_from_traces(run, tmp_path, capsys):
    from tersely.eval.decoding.diff_adapt import load_probe

    path = tmp_path / "probe.safetensors"
    assert main(["diff_adapt", "testbed", str(run), "--out", str(path)]) == 0
    assert "held_out_accuracy" in capsys.readouterr().out and load_probe(str(path))["w2"].shape[0] == 3


def test_a_correct_answer_of_a_truncated_trace_does_not_count(run, tmp_path):
    import json

    from tersely.eval.decoding.traces import read_traces
    from tersely.eval.engines import transformers_evaluator

    lines = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    right = next(record for record in lines if record["correct"] == 1 and not record["truncated"])
    right["truncated"] = True
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    evaluator = transformers_evaluator("testbed", verifier=Unused())
    before, after = (sum(t.correct for t in read_traces(evaluator, place, None)) for place in (run, tmp_path))
    assert after == before - 1


def test_labels():
    rates, entropies = torch.tensor([1.0, 1.0, 0.5, 0.25]), torch.tensor([0.9, 0.1, 0.5, 0.9])
    assert label(rates, entropies).tolist() == [0, 1, 1, 2]


def test_the_probe_learns_what_is_there():
    from tersely.eval.decoding.diff_adapt import probe_logits

    torch.manual_seed(1)
    labels = torch.arange(90) % 3
    states = torch.randn(90, 8) + 3 * torch.nn.functional.one_hot(labels, 8)
    weights = train(states, labels)
    assert (probe_logits(weights, states).argmax(1) == labels).float().mean() > 0.95
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), train(states, labels).values(), strict=True))


def test_an_empty_run_is_an_error(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="run `tersely eval` first"):
        main(["seal", "testbed", str(tmp_path), "--out", str(tmp_path / "x")])
