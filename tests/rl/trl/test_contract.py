"""The contract file against the installed TRL, and against changed copies of it."""

from __future__ import annotations

import ast
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from tersely.launch.preflight import doctor
from tersely.rl.trl import contract as trl_contract
from tersely.rl.trl.contract import PACKAGES, differences, measured, recorded, seams

pytest.importorskip("trl")
GRPO = "trl/trainer/grpo_trainer.py"


@pytest.fixture(scope="module")
def found():
    return seams()


def of(package, seams):
    return {name: facts for name, facts in seams.items() if name.startswith(f"{package}/")}


def test_the_file_names_every_seam_and_is_of_the_tested_release(found):
    contract = recorded()
    assert set(contract["seams"]) == found, "run: python -m tersely.rl.trl.contract --write"
    for package in PACKAGES:
        tested = str(doctor.tested()[package]["tested"])
        assert contract[package] == tested
        if version(package) == tested:
            assert of(package, contract["seams"]) == of(package, measured(found))


def classes(trainer):
    """(ours, theirs) of the classes that a trainer derives from."""
    ours = [cls for cls in trainer.__mro__ if cls.__module__.startswith("tersely.")]
    return ours, [cls for cls in trainer.__mro__ if cls.__module__.split(".")[0] in PACKAGES]


def trainers():
    from tersely.rl.sft.trainer import ColdStartTrainer
    from tersely.rl.trainer import TerselyTrainer

    return TerselyTrainer, ColdStartTrainer


def test_every_overridden_method_is_a_seam():
    """Asked of the classes themselves, which the scan of the sources does not look at."""
    named = {name.rpartition(".")[2] for name in recorded()["seams"]}
    for trainer in trainers():
        ours, theirs = classes(trainer)
        overridden = {n for cls in ours for n in vars(cls) if any(callable(vars(t).get(n)) for t in theirs)}
        assert overridden - {"__doc__"} <= named and len(overridden) > 2


def test_a_new_use_is_found(tmp_path):
    """A method that is called, one that is overridden, and an attribute that is read: each is a seam by itself."""
    (tmp_path / "new.py").write_text(
        "from trl import GRPOTrainer\n"
        "class Ours(GRPOTrainer):\n"
        "    def _get_eval_sampler(self, data):\n"
        "        return self._generate(data), self._last_loaded_step, self._our_own\n"
    )
    names = {name.rpartition(".")[2] for name in seams(tmp_path)}
    assert names == {"_get_eval_sampler", "_generate", "_last_loaded_step"}


def test_private_names_of_theirs_are_in_one_module():
    """Everywhere else a trainer is used by its public names."""
    private = set()
    for trainer in trainers():
        ours, theirs = classes(trainer)
        for cls in theirs:
            private |= {name for name in vars(cls) if name.startswith("_") and not name.startswith("__")}
    private |= {name.rpartition(".")[2] for name in recorded()["seams"] if name.rpartition(".")[2].startswith("_")}
    private -= {"__init__"}
    assert {"_metrics", "_step", "_tokenizer", "_compute_loss"} - {"_tokenizer"} <= private
    root = Path(trl_contract.__file__).parents[1]
    found = []
    for path in sorted(root.rglob("*.py")):
        if path.name in ("overrides.py", "contract.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {*trl_contract.TRAINERS}:
                uses = [n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)]
                uses += [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            elif isinstance(node, ast.Attribute) and "trainer" in ast.unparse(node.value):
                uses = [node.attr]
            else:
                continue
            found += [f"{path.name}: {name}" for name in uses if name in private]
    assert found == []


@pytest.fixture
def copy(tmp_path):
    """TRL's sources, to be changed."""
    shutil.copytree(trl_contract.trl_folder() / "trl", tmp_path / "trl", ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path


def changed(root, before, after):
    path = root / GRPO
    text = path.read_text()
    assert text.count(before) >= 1
    path.write_text(text.replace(before, after, 1))
    contract = measured(set(recorded()["seams"]))
    return differences(contract, measured(set(contract), root))


def test_a_copy_is_the_same_and_comments_do_not_count(copy):
    head = "    def _save_checkpoint(self, model, trial):\n"
    assert changed(copy, head, f"{head}        # another comment\n\n") == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "def _save_checkpoint(self, model, trial)",
            "def _save_checkpoint(self, model, trial, pad=None)",
            "has the parameters (",
        ),
        (
            "def _save_checkpoint(self, model, trial):\n",
            "def _save_checkpoint(self, model, trial):\n        x = 1\n",
            "body",
        ),
        ("def _save_checkpoint(self", "def _store_checkpoint(self", trl_contract.REMOVED),
    ],
)
def test_a_change_is_found_and_named(copy, monkeypatch, before, after, words):
    ((name, text),) = changed(copy, before, after)
    assert name.endswith("GRPOTrainer._save_checkpoint") and words in text
    monkeypatch.setattr(trl_contract, "trl_folder", lambda: copy)
    (finding,) = doctor.trl_seams()
    assert (
        finding.level == ("fail" if words == trl_contract.REMOVED else "warn")
        and "changed since tested" in finding.text
    )


def test_doctor_is_content_with_the_tested_release():
    if any(version(package) != str(doctor.tested()[package]["tested"]) for package in PACKAGES):
        pytest.skip("other versions than the tested ones are installed")
    (finding,) = doctor.trl_seams()
    assert finding.level == "ok"
