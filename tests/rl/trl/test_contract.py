"""The contract file against the installed TRL, and against changed copies of it."""

from __future__ import annotations

import shutil
from importlib.metadata import version

import pytest

from tersely.launch.preflight import doctor
from tersely.rl.trl import contract as trl_contract
from tersely.rl.trl.contract import differences, measured, recorded, seams

pytest.importorskip("trl")
TESTED = str(doctor.tested()["trl"]["tested"])
GRPO = "trl/trainer/grpo_trainer.py"


@pytest.fixture(scope="module")
def found():
    return seams()


def test_the_file_names_every_seam_and_is_of_the_tested_release(found):
    contract = recorded()
    assert contract["trl"] == TESTED
    assert set(contract["seams"]) == found, "run: python -m tersely.rl.trl.contract --write"
    if version("trl") == TESTED:
        assert contract["seams"] == measured(found)


def test_every_overridden_method_of_trls_is_a_seam():
    """Asked of the classes themselves, which the scan of the sources does not look at."""
    from tersely.rl.sft.trainer import ColdStartTrainer
    from tersely.rl.trainer import TerselyTrainer

    named = {name.rpartition(".")[2] for name in recorded()["seams"]}
    for trainer in (TerselyTrainer, ColdStartTrainer):
        ours = [cls for cls in trainer.__mro__ if cls.__module__.startswith("tersely.")]
        theirs = [cls for cls in trainer.__mro__ if cls.__module__.startswith("trl.")]
        overridden = {n for cls in ours for n in vars(cls) if any(callable(vars(t).get(n)) for t in theirs)}
        assert overridden - {"__doc__"} <= named and len(overridden) > 2


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
    head = "    def _tokenize_prompts(self, prompts: list):\n"
    assert changed(copy, head, f"{head}        # another comment\n\n") == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "def _tokenize_prompts(self, prompts: list)",
            "def _tokenize_prompts(self, prompts: list, pad=None)",
            "takes (",
        ),
        (
            "def _tokenize_prompts(self, prompts: list):\n",
            "def _tokenize_prompts(self, prompts: list):\n        x = 1\n",
            "body",
        ),
        ("def _tokenize_prompts(self", "def _tokenise_prompts(self", "is gone"),
    ],
)
def test_a_change_is_found_and_named(copy, monkeypatch, before, after, words):
    ((name, text),) = changed(copy, before, after)
    assert name == "GRPOTrainer._tokenize_prompts" and words in text
    monkeypatch.setattr(trl_contract, "trl_folder", lambda: copy)
    (finding,) = doctor.trl_seams()
    assert finding.level == ("fail" if words == "is gone" else "warn") and "changed since tested" in finding.text


def test_doctor_is_content_with_the_tested_release():
    if version("trl") != TESTED:
        pytest.skip(f"trl {version('trl')} is installed, tested with {TESTED}")
    (finding,) = doctor.trl_seams()
    assert finding.level == "ok"
