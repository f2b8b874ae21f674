"""Our code on the releases of transformers in the window, each with its own sources: see transformers_probe.py. The installed
one is that of the other tests.

By default the tested version and the oldest one; TERSELY_CONTRACTS=all (`make contracts`) takes all.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tersely.launch.preflight import doctor

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

TESTED = str(doctor.tested()["transformers"]["tested"])
ALL = [str(version) for version in doctor.tested()["transformers"]["contracts"]]
CHOSEN = ALL if os.environ.get("TERSELY_CONTRACTS") == "all" else [ALL[0], TESTED]
NAMES = ("gradient_checkpointing", "activation_checkpointing")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def probed(version: str, warm_python: str) -> dict:
    if version == importlib.metadata.version("transformers"):
        return facts(version, warm_python, [FOLDER, FOLDER.parents[1]])
    try:
        tree = sources.python_files("transformers", version)
        path = [tree, *sources.needed_beside(tree, "tokenizers"), FOLDER.parents[1]]
    except sources.NoSources as error:
        reason = f"the sources of transformers {version} are out of reach: {error}"
        pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    return facts(version, sys.executable, path)


def facts(version: str, python: str, path: list[Path]) -> dict:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(FOLDER / "transformers_probe.py")],
        env={**environment, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))[6:])
    assert found["version"] == version
    return found


@pytest.fixture(scope="module")
def tested(warm_python):
    return probed(TESTED, warm_python)


@pytest.fixture(scope="module", params=CHOSEN)
def found(request, tested, warm_python):
    return tested if request.param == TESTED else probed(request.param, warm_python)


def test_what_we_import_is_there(found):
    assert found["imports"] == []


def test_shipped_recipes_become_training_arguments(found, tested):
    """Renamed fields included: those that our code reads are the same as in the tested version."""
    assert found["recipes"] == {} and found["arguments"] == tested["arguments"]
    assert {"gradient_accumulation_steps", "lr_scheduler_kwargs", "optim_args", "bf16"} <= set(found["arguments"])


def test_the_trainers_methods_take_what_we_pass(found, tested):
    assert found["methods"].keys() == tested["methods"].keys() and "training_step" in tested["methods"]
    for name, parameters in tested["methods"].items():
        theirs = found["methods"][name]
        assert theirs[: len(parameters)] == parameters or set(parameters) <= {*theirs}, name


def test_either_name_of_activation_checkpointing_works(found):
    state = {f"{name} {wanted}": wanted for name in NAMES for wanted in (True, False)}
    assert found["checkpointing"] == {"state": state, "deprecated": []}, (
        "the old name is passed where the new one is there"
    )


def test_prompts_and_samples_are_those_of_the_tested_version(found, tested):
    assert found["text"] == tested["text"] and tested["text"]["side"] == "left"
    assert found["sampled"] == tested["sampled"]
    assert found["sampled"]["recommended"] == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}


def test_attention_has_the_names_that_we_choose(found):
    assert found["attention"] == {
        "chosen": ["flash_attention_2", None],
        "known": ["eager", "flash_attention_2", "sdpa"],
    }


def test_what_we_set_for_fsdp_and_deepspeed_is_read(found):
    assert found["integrations"] == dict.fromkeys(found["integrations"], True)


def test_a_cold_start_a_run_and_its_resumption_end(found):
    """Steps with a loss: one of each stage; two, and one more from the checkpoint."""
    expected = {"staged": 2, "plain": 3} | {"staged final": True, "plain final": True}
    assert found["training"] == expected
