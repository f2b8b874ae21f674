"""`tersely eval --engine vllm` with the real engine: the same greedy samples as transformers, counted the same."""

import json

import pytest
from support import tiny

from tersely.eval.engines import make_evaluator
from tersely.eval.records import RecordReader


def texts(out):
    return {
        (r["problem_id"], r["sample"]): (r["text"], r["tokens"], r["finish"])
        for _, r in RecordReader(out / "records.jsonl")
    }


@pytest.mark.vllm
def test_greedy_samples_equal_those_of_transformers(tmp_path, monkeypatch):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    monkeypatch.setattr("tersely.eval.engines.make_verifier", lambda workers=None: tiny.HashVerifier())
    folder = tiny.save_tiny_model(tmp_path / "model")
    sums = tmp_path / "sums.jsonl"
    sums.write_text("".join(json.dumps({"problem": f"{n}+{n}=", "answer": str(2 * n)}) + "\n" for n in range(10)))
    settings = {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 16, "instruction": ""}
    for engine, samples in (("transformers", 1), ("vllm", 1)):
        evaluator = make_evaluator(str(folder), engine)
        evaluator.run(str(sums), tmp_path / engine, samples=samples, **settings)
        if engine == "vllm":
            seeded = {**settings, "temperature": 1.0}
            evaluator.run(str(sums), tmp_path / "one", samples=2, **seeded)
            evaluator.batch = 3
            evaluator.run(str(sums), tmp_path / "two", samples=2, **seeded)
        evaluator.engine.close()
    assert texts(tmp_path / "vllm") == texts(tmp_path / "transformers")
    assert texts(tmp_path / "one") == texts(tmp_path / "two"), "a sample is its seed's, whatever the batch"
