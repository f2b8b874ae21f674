"""`engine: vllm` through the real command: on one rank, on two, and with a stale head that stops the run."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from support.launcher import Launcher

pytestmark = [pytest.mark.e2e, pytest.mark.vllm]

VLLM = {"engine": "vllm", "max_completion_length": 128, "vllm_max_model_length": 224}
STEPS = 3


@pytest.fixture(scope="module")
def vllm_launcher(tmp_path_factory, warm_vllm) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("runs"), warm_vllm)


def gaps(launcher, name):
    lines = (launcher.folder / name / "metrics.jsonl").read_text().splitlines()
    return [row["mismatch/mean"] for row in map(json.loads, lines) if "mismatch/mean" in row]


def run(launcher, name, *, start=(), **changes):
    """As `launcher.run`, with `start` between the interpreter and the module."""
    python, *command = launcher.command(name, **VLLM, **changes)
    return subprocess.run(
        [python, *start, *command],
        env=launcher.warm_environment(),
        capture_output=True,
        text=True,
        timeout=400,
        cwd=launcher.folder,
    )


@pytest.fixture(scope="module")
def one_rank(vllm_launcher):
    done = run(vllm_launcher, "vllm_one", max_steps=STEPS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return vllm_launcher


def test_the_engine_follows_the_trainer(one_rank):
    measured = gaps(one_rank, "vllm_one")
    assert len(measured) == STEPS and max(measured) < 1e-3
    rows = one_rank.completions("vllm_one")
    assert len(rows) == STEPS * 16 and rows.correct.sum() > 2
    assert rows.text.nunique() > len(rows) / 4  # rollouts of a group are not copies


def test_two_ranks_draw_the_same_samples(one_rank):
    """An engine a rank, and a group that straddles them: 4 prompts of 4 in rows of 8, dealt as on one rank."""
    done = run(
        one_rank,
        "vllm_two",
        start=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        micro_batch=4,
        max_steps=STEPS,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "ranks        2" in done.stdout
    expected, found = one_rank.completions("vllm_one"), one_rank.completions("vllm_two")
    assert expected.prompt_id.tolist() == found.prompt_id.tolist()
    assert expected.text.tolist() == found.text.tolist()
    np.testing.assert_allclose(expected.advantage, found.advantage, atol=1e-5)
    np.testing.assert_allclose(one_rank.losses("vllm_one"), one_rank.losses("vllm_two"), atol=1e-5)
    assert max(gaps(one_rank, "vllm_two")) < 1e-3


def test_a_cold_start_samples_from_it_and_the_next_stage_from_what_was_learned(vllm_launcher):
    """Each stage has an engine of its own, and only the training loads the weights beside it."""
    cold = {"name": "warm", "kind": "sft", "steps": 2, "prompts": 8, "samples": 2, "batch_size": 2}
    stages = [cold, {"name": "learn", "steps": 2}]
    done = run(vllm_launcher, "cold", stages=stages, max_steps=2)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "examples of" in said
    measured = gaps(vllm_launcher, "cold")
    assert len(measured) == 2 and max(measured) < 1e-3
    assert said.count("Loading weights: 100%") == 2, "once to learn from examples, once to learn from rewards"


def tie(folder):
    """The embedded model with one matrix for both embeddings, which leaves little of its skill."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tersely.testbed import model_path

    shutil.copytree(model_path(), folder)
    state = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").state_dict()
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, tie_word_embeddings=True))
    model.load_state_dict(state)
    model.save_pretrained(folder)
    return folder


STALE = """
import sys
from tersely.engines import vllm_weights
vllm_weights.repack_tied_head = lambda model: False
from tersely.launch.cli.main import run_command
from tersely.launch.cli.train import main
sys.exit(run_command(main, sys.argv[1:]))
"""


def test_a_stale_head_stops_the_run_with_the_cause(vllm_launcher):
    """The packed output head of the CPU engine stays as it was loaded, while the trainer moves the shared matrix."""
    launcher = vllm_launcher
    tied = tie(launcher.folder / "tied")
    (launcher.folder / "stale.py").write_text(STALE)
    command = launcher.command(
        "stale",
        **{
            **VLLM,
            "learning_rate": 2e-2,
            "guards": {"mismatch": {"threshold": 0.02}},
            "max_steps": 30,
            "model_name_or_path": str(tied),
        },
        reward={"name": "soft_overlong", "cache": 100, "max_length": 128},
    )
    options = command[command.index("--config") :]
    done = subprocess.run(
        [launcher.python, "stale.py", *options],
        env=launcher.environment(),
        capture_output=True,
        text=True,
        timeout=400,
        cwd=launcher.folder,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "tied" in said and "mismatch.threshold 0.02" in said, said[-4000:]
    measured = gaps(launcher, "stale")
    assert measured and measured[0] < 1e-3 and max(measured) <= 0.02
