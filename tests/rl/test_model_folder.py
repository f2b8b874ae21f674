import shutil

import pytest

from tersely.checks import SpecError
from tersely.eval.engines import require_place
from tersely.launch.preflight_checks import model_place


def damaged(tiny_model, tmp_path, name, content):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / name
    path.write_bytes(content(path.read_bytes() if path.exists() else b""))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", lambda whole: whole[:-100], r"model.safetensors is incomplete: it has \d+ of \d+ bytes"),
        ("model.safetensors", lambda whole: whole[:20], "less than its header needs"),
        ("model.safetensors", lambda _: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("tokenizer.json", lambda _: b"version https://git-lfs.github.com/spec/v1\n", "tokenizer.json is a git-lfs"),
        (
            "model.safetensors.index.json",
            lambda _: b'{"weight_map": {"a": "x.safetensors"}}',
            "the first x.safetensors",
        ),
    ],
)
def test_damaged_folders_are_refused_before_loading(tiny_model, tmp_path, name, content, words):
    place = damaged(tiny_model, tmp_path, name, content)
    with pytest.raises(SpecError, match=words):
        require_place(place)
    assert model_place(place).level == "fail"


def test_an_adapter_folder_is_named_and_a_whole_model_passes(tiny_model, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "LoRA adapter without its base" in model_place(str(tmp_path)).text
    assert model_place(str(tiny_model)).level == "ok"
