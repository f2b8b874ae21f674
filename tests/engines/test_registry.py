"""An engine is one file and one entry: engines of this file train and evaluate without any other change."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tersely
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.engines.base import Engine, EngineSettings
from tersely.engines.registry import (
    ADDRESSED,
    ENGINES,
    Capabilities,
    EngineEntry,
    evaluation_engines,
    needs_servers,
    require_training_engine,
)
from tersely.rl.config import objective_of


class Copied(Engine):
    """Its own copy of the model, loaded from the folder and replaced by the trainer's weights."""

    name = "copied"
    made: list[Copied] = []

    def __init__(self, settings: EngineSettings):
        from tersely.engines.models import load_frozen
        from tersely.engines.transformers import TransformersEngine

        self.tokenizer, self.versions, self.closed = settings.tokenizer, [], False
        self.inner = TransformersEngine(load_frozen(settings.model), settings.tokenizer)
        self.made.append(self)

    @classmethod
    def create(cls, settings):
        return cls(settings)

    def generate(self, requests, **sampling):
        return self.inner.generate([replace(request, logprobs=True) for request in requests], **sampling)

    def sync_weights(self, model, version):
        self.inner.model.load_state_dict(model.state_dict())
        self.versions.append(version)

    def metrics(self):
        return {"engine/copies": float(len(self.versions))}

    def facts(self):
        return {**super().facts(), "version": self.versions[-1] if self.versions else None}

    def close(self):
        self.closed = True


class Shared(Engine):
    """The trained model, one request at a time."""

    name = "shared"
    asked = 0

    def __init__(self, settings: EngineSettings):
        from tersely.engines.transformers import TransformersEngine

        self.tokenizer = settings.tokenizer
        self.inner = TransformersEngine.create(settings)

    @classmethod
    def create(cls, settings):
        return cls(settings)

    def generate(self, requests, **sampling):
        Shared.asked += len(requests)
        return [self.inner.generate([request], **sampling)[0] for request in requests]


class Warped:
    """A sampling that only an engine with the logits at hand can draw from."""

    base_temperature = 1.0

    def __call__(self, logits):
        return logits


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    able = {"copied": Capabilities(weight_sync=True, sampler_logprobs=True), "shared": Capabilities(trained_model=True)}
    for name, capabilities in able.items():
        monkeypatch.setitem(ENGINES, name, EngineEntry(f"{__name__}:{name.capitalize()}", capabilities))
    monkeypatch.setattr(Copied, "made", [])
    monkeypatch.setattr(Shared, "asked", 0)


def recipe_with(**values) -> Recipe:
    return Recipe.of({"model_name_or_path": "testbed", **values})


def trained(name, folder, **more):
    from tersely.rl.run import train

    recipe = {
        "model_name_or_path": "testbed",
        "dataset": {"name": "testbed", "split": "train", "limit": 32},
        "engine": name,
        "filter": "keep_all",
        "prompts_per_step": 2,
        "group_size": 4,
        "micro_batch": 4,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "max_completion_length": 24,
        "save_strategy": "no",
        "run_dir": str(folder),
        "gradient_checkpointing": False,
        **more,
    }
    train(Recipe.of(recipe))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.mark.slow
def test_an_engine_with_weights_of_its_own_trains(tmp_path):
    """Its log-probs are the trainer's after each synchronisation; the guard stops the run otherwise."""
    first, second = trained("copied", tmp_path / "run", guards={"mismatch": {"threshold": 1e-3, "patience": 1}})
    (engine,) = Copied.made
    assert engine.versions == [0, 1] and engine.closed
    assert (first["engine/copies"], second["engine/copies"]) == (1, 2)


@pytest.mark.slow
def test_an_engine_on_the_trained_model_trains_as_transformers_does(tmp_path):
    ours = trained("shared", tmp_path / "shared")
    assert Shared.asked == 16
    theirs = trained("transformers", tmp_path / "transformers")
    assert [row["loss"] for row in ours] == pytest.approx([row["loss"] for row in theirs], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copied", "shared"])
def test_evaluation_takes_it_by_its_name(name, tmp_path, capsys):
    from tersely.launch.cli.eval import main

    argv = ["testbed", "--benchmarks", "testbed", "--samples", "1", "--limit", "4", "--max-new-tokens", "8"]
    argv += ["--temperature", "0"]
    for engine in (name, "transformers"):
        assert main([*argv, "--engine", engine, "--out", str(tmp_path / engine)]) == 0
    texts = [
        [json.loads(line)["text"] for line in (tmp_path / engine / "records.jsonl").read_text().splitlines()]
        for engine in (name, "transformers")
    ]
    assert len(texts[0]) == 4 and texts[0] == texts[1]
    with pytest.raises(ConfigError, match=f"strategy cntp .*transformers.* {name}"):
        main([*argv, "--engine", name, "--out", str(tmp_path / "cntp"), "--strategy", "cntp"])


@pytest.mark.parametrize(
    ("given", "words"),
    [("vlm", "did you mean 'vllm'"), ("server", "valid: .*vllm_server"), (7, "valid"), (["vllm"], "valid")],
)
def test_a_recipe_with_an_engine_that_cannot_train_is_refused(given, words):
    for check in (require_training_engine, lambda name: needs_servers(dataclasses.replace(recipe_with(), engine=name))):
        with pytest.raises(ConfigError, match=f"engine: got .*{words}"):
            check(given)


def test_an_adaptive_sampling_needs_an_engine_that_can_draw_from_it():
    from tersely.rl.config import checked

    def objective(engine, sampling):
        return objective_of(
            checked(Recipe.of({"model_name_or_path": "testbed", "engine": engine, "sampling": sampling}))
        )

    warped, adaptive = f"{__name__}:Warped", "hapo_temperature"
    for engine, sampling in (("transformers", warped), ("transformers", adaptive), ("vllm", adaptive)):
        assert callable(objective(engine, sampling).sampling)
    for engine, sampling, name in (("vllm", warped, "Warped"), ("copied", adaptive, "HAPOTemperature")):
        with pytest.raises(ConfigError, match=f"sampling.*{name}.*fixed temperature"):
            objective(engine, sampling)


@pytest.mark.parametrize("name", ["transformers", "vllm", "vllm_server", "server"])
def test_the_class_of_an_entry_has_what_its_capabilities_promise(name):
    kind, able = ENGINES[name].load(), ENGINES[name].capabilities
    assert kind.name == name and issubclass(kind, Engine)
    hooks = {"weight_sync": "sync_weights", "hidden_states": "reading_model"}
    for capability, hook in hooks.items():
        assert getattr(able, capability) == (getattr(kind, hook) is not getattr(Engine, hook)), capability
    assert kind.generate is not Engine.generate and kind.create.__func__ is not Engine.create.__func__


def test_training_and_evaluation_know_their_engines():
    assert needs_servers(recipe_with(engine="vllm_server"))
    assert not needs_servers(recipe_with(engine="vllm_server", servers=["http://a"]))
    assert not needs_servers(recipe_with()) and not needs_servers(recipe_with(engine="vllm"))
    assert evaluation_engines()[:3] == ["transformers", "vllm", ADDRESSED]
    assert "vllm_server" not in evaluation_engines() and evaluation_engines(["hidden_states"]) == [
        "transformers",
        "vllm",
    ]


def test_the_page_names_the_engines_of_each_strategy():
    from tersely.eval.decoding.registry import STRATEGIES

    page = (Path(tersely.__file__).parents[1] / "docs/evaluation.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    named = {name: engines for name, engines in rows if name in STRATEGIES}
    shipped = [name for name in evaluation_engines() if name not in ("copied", "shared")]
    for name, strategy in STRATEGIES.items():
        able = [engine for engine in evaluation_engines(strategy.needs) if engine in shipped]
        assert named[name] == ("all" if able == shipped else ", ".join(able)), name


def test_capabilities_are_read_without_torch_and_vllm():
    program = "import sys; from tersely.engines.registry import ENGINES, capabilities_of; capabilities_of('vllm')"
    heavy = f"{program}; sys.exit(sorted({{'torch', 'vllm', 'transformers'}} & sys.modules.keys()) or None)"
    subprocess.run([sys.executable, "-c", heavy], check=True)


def test_no_module_compares_the_name_of_an_engine():
    found = []
    for path in Path(tersely.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(
                isinstance(part, ast.Attribute | ast.Call | ast.Name) and "engine" in ast.unparse(part)
                for part in (node.left, *node.comparators)
            ):
                texts = {part.value for part in (node.left, *node.comparators) if isinstance(part, ast.Constant)}
                if texts & set(ENGINES):
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "ask for a capability: " + "; ".join(found)
