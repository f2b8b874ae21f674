"""Messages about paths name the path, what it is, and what lies near it."""

from __future__ import annotations

import pytest

from tersely.core.paths import beside, fault_of


def fault(action) -> str:
    with pytest.raises(OSError) as caught:
        action()
    return fault_of(caught.value)


def test_each_error_of_a_path_says_what_the_path_is(tmp_path):
    (tmp_path / "records.jsonl").write_text("")
    assert fault(lambda: (tmp_path / "records.jsnl").read_text()).endswith(f"did you mean {tmp_path}/records.jsonl?")
    assert fault(lambda: (tmp_path / "none" / "x").read_text()).endswith(f"the folder {tmp_path}/none does not exist")
    assert fault(lambda: tmp_path.read_text()) == f"{tmp_path}: is a folder; expected a file"
    assert "expected a folder" in fault(lambda: (tmp_path / "records.jsonl").mkdir())
    assert "expected a folder" in fault(lambda: (tmp_path / "records.jsonl" / "x").read_text())
    assert fault_of(PermissionError(13, "Permission denied", "/etc/shadow")).startswith(
        "/etc/shadow: permission denied"
    )
    assert fault_of(OSError("a reason of its own")) == "a reason of its own"


def test_nothing_is_proposed_where_nothing_is_alike(tmp_path):
    (tmp_path / "zebra.yaml").write_text("")
    assert beside(tmp_path / "recipe.yaml") == ""
    assert beside(tmp_path / "zebar.yaml") == f"did you mean {tmp_path}/zebra.yaml?"


def test_paths_of_a_recipe_are_expanded_and_a_missing_variable_is_named(tmp_path, monkeypatch):
    from tersely.configs.load import resolved_values

    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    path = tmp_path / "r.yaml"
    path.write_text("run_dir: ~/x\nmodel_name_or_path: ${DATA}/m\ndataset: [{path: $DATA/a.jsonl}, testbed]\n")
    found = resolved_values(path)
    assert found["run_dir"] == "/home/me/x" and found["model_name_or_path"] == "/data/m"
    assert found["dataset"] == [{"path": "/data/a.jsonl"}, "testbed"]
    with pytest.raises(ValueError, match="variable NOWHERE"):
        resolved_values(path, {"run_dir": "$NOWHERE/x"})
