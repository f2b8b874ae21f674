import math

import pytest

from tersely.configs.dataset import SourceSpec
from tersely.data.rows import MISSING, Reader, lookup


def test_paths_into_nested_rows():
    row = {"a": {"b": [{"c": 1}]}, "x.y": 2, "m": {"Qwen-1.5B": {"k": 3}}, "0": {"value": 4}}
    assert [lookup(row, path) for path in ("a.b.0.c", "x.y", "m.Qwen-1.5B.k", "0.value")] == [1, 2, 3, 4]
    assert [lookup(row, path) for path in ("a.b.1.c", "a.z", "a.b.c", "x")] == [MISSING] * 4


def test_levels_are_text_and_equal_numbers_are_one_level():
    reader = Reader(SourceSpec(path="x.jsonl"))
    levels = [reader.read({"problem": "p", "answer": 1, "level": v}, 0)[2] for v in (5, 5.0, "5", 2.5, None, math.nan)]
    assert levels == ["5", "5", "5", "2.5", None, None]
    assert reader.read({"problem": "p", "answer": 1}, 0) == ("p", "1", None)


def test_a_value_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match=r"is a chat \(user\); write transform"):
        Reader(SourceSpec(path="x.jsonl")).read({"problem": [{"role": "user"}], "answer": "1"}, 0)
    with pytest.raises(ValueError, match="gsm8k_answer.*int"):
        Reader(SourceSpec(path="x.jsonl", transform={"answer": "gsm8k_answer"})).read({"problem": "p", "answer": 3}, 0)
