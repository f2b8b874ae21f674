import json
import shutil

import pytest

from tersely.core.errors import ConfigError
from tersely.engines.model_folder import is_adapter
from tersely.engines.models import model_place
from tersely.eval.engines import require_place


def damaged(tiny_model, tmp_path, name, content):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / name
    path.write_bytes(content(path.read_bytes() if path.exists() else b""))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", lambda whole: whole[:-100], r"model.safetensors is incomplete: it has \d+ of \d+ bytes"),
        ("model.safetensors", lambda whole: whole[:20], "header"),
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
    with pytest.raises(ConfigError, match=words):
        require_place(place)
    assert model_place(place).level == "fail"


def adapter_of(base, folder):
    """An adapter's folder without tensors."""
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 4, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return str(folder)


def test_an_adapter_is_as_good_as_its_base_model(tiny_model, tmp_path):
    assert model_place(str(tiny_model)).level == "ok"
    found = model_place(adapter_of(tiny_model, tmp_path))
    assert found.level == "ok" and str(tiny_model) in found.text
    gone = model_place(adapter_of(tmp_path / "gone", tmp_path))
    assert gone.level == "fail" and str(tmp_path / "gone") in gone.text


def test_an_adapter_without_weights_or_base_is_named(tiny_model, tmp_path):
    place = adapter_of(tiny_model, tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="adapter_model.safetensors"):
        require_place(place)
    adapter_of(tiny_model, tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="base_model_name_or_path"):
        require_place(place)


def test_an_adapter_without_a_tokenizer_has_that_of_its_base(tiny_model, tmp_path):
    from tersely.engines.model_checks import check_vocabulary, model_config
    from tersely.engines.models import load_tokenizer

    place = adapter_of(tiny_model, tmp_path)
    tokenizer = load_tokenizer(place)
    assert tokenizer.get_vocab() == load_tokenizer(str(tiny_model)).get_vocab()
    check_vocabulary(place, tokenizer, model_config(place))


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without_tokenizer(folder):
    for path in [*folder.glob("*token*"), *folder.glob("*.jinja")]:
        path.unlink()


def with_template(text):
    def change(folder):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = text
        tokenizer.save_pretrained(folder)
        if text is None:
            (folder / "chat_template.jinja").unlink(missing_ok=True)

    return change


def with_more_words(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<word{n}>" for n in range(999)])
    tokenizer.save_pretrained(folder)


def with_fewer_rows(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("embed_tokens.weight"))
    weights[name] = weights[name][:9].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def as_cut_archive(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(999)}, folder / "pytorch_model.bin")
    whole = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(whole[:-300])


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
DAMAGES = {
    "template that raises": (
        with_template("{{ raise_exception('only for tools') }}"),
        "template fails.*only for tools",
    ),
    "template that is no jinja": (with_template("{% if %}"), "chat template fails on a user message"),
    "template without the message": (with_template("hello"), "drops the user's message"),
    "no template": (with_template(None), "no chat template"),
    "more words than the config": (with_more_words, r"the tokenizer has \d+ ids; expected at most"),
    "more words than the embedding": (with_fewer_rows, r"the tokenizer has \d+ ids; expected at most 9"),
    "pointer for the config": (write("config.json", POINTER), "config.json is a git-lfs pointer"),
    "pointer for the tokenizer": (write("tokenizer.json", POINTER), "tokenizer.json is a git-lfs pointer"),
    "pointer for a shard": (write("model-00001-of-00002.safetensors", POINTER), "of-00002.safetensors is a git-lfs"),
    "cut archive": (as_cut_archive, "pytorch_model.bin is incomplete: its end is missing"),
    "header of nonsense": (
        write("model.safetensors", (9).to_bytes(8, "little") + b'{"a": {}}' + b"0" * 99),
        "header cannot be read",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    "lost shard of an archive": (
        write("pytorch_model.bin.index.json", b'{"weight_map": {"a": "pytorch_model-1.bin"}}'),
        "1 of 1 weight files are missing, the first pytorch_model-1.bin",
    ),
    "no tokenizer": (without_tokenizer, "cannot load its tokenizer|tokenizer has no vocabulary"),
    "empty tokenizer": (write("tokenizer.json", b""), "cannot load its tokenizer"),
    "tokenizer of nonsense": (write("tokenizer.json", b'{"model": 3}'), "cannot load its tokenizer"),
    "list for the tokenizer's config": (write("tokenizer_config.json", b"[]"), "cannot load its tokenizer"),
    "broken config": (write("config.json", b"{"), "config cannot be read|cannot load its tokenizer"),
    "config of an unknown family": (write("config.json", b'{"model_type": "nosuch"}'), "cannot be (read|loaded)"),
}


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_evaluation_refuses_it_before_weights_are_read(damage, engine, tiny_model, tmp_path, monkeypatch):
    import transformers

    from tersely.eval.engines import make_evaluator

    change, words = DAMAGES[damage]
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    change(folder)
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda *a, **k: pytest.fail("weights were read")
    )
    with pytest.raises(ConfigError, match=words) as refused:
        make_evaluator(str(folder), engine)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("change", [{"num_attention_heads": 1, "head_dim": 4}, {"hidden_size": 32}])
def test_weights_of_another_shape_than_the_config_are_one_line(change, tiny_model, tmp_path):
    from tersely.engines.models import load_frozen

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ConfigError, match="model .* cannot be loaded") as refused:
        load_frozen(str(folder))
    assert "\n" not in str(refused.value)


def test_a_template_without_a_system_role_is_refused_where_there_is_a_system_prompt(tiny_model, tmp_path):
    from tersely.eval.engines import make_evaluator

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    with_template("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")(folder)
    with pytest.raises(ConfigError, match="system message"):
        make_evaluator(str(folder), system_prompt="Be brief.")


class Hub:
    """What huggingface_hub answers, by repository: its files."""

    REPOSITORIES = {"org/adapter": ["adapter_config.json", "README.md"], "org/whole": ["config.json"]}

    def file_exists(self, repo, name, **_):
        self.asked = getattr(self, "asked", 0) + 1
        if repo not in self.REPOSITORIES:
            raise ConnectionError("no network")
        return name in self.REPOSITORIES[repo]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    import huggingface_hub

    hub = Hub()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "file_exists", hub.file_exists)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    return hub


def test_an_adapter_on_the_hub_is_as_good_as_its_base_model(hub, tiny_model, tmp_path, monkeypatch):
    import huggingface_hub

    adapter_of(tiny_model, tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name: str(tmp_path / name))
    found = model_place("org/adapter")
    assert found.level == "ok" and str(tiny_model) in found.text
    for name in ("org/whole", "org/nowhere"):
        assert model_place(name).level == "note" and not is_adapter(name)


def test_a_cached_model_needs_no_question_to_the_hub(hub, monkeypatch):
    import huggingface_hub

    cached = {"org/whole": "config.json", "org/adapter": "adapter_config.json"}
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, name: "/x" if cached.get(repo) == name else None
    )
    assert not is_adapter("org/whole") and is_adapter("org/adapter")
    assert not hasattr(hub, "asked")
