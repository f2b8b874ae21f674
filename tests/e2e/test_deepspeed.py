"""ZeRO-2 and ZeRO-3 on two CPU processes, with the accelerate files that the package ships."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.deepspeed]


@pytest.fixture(scope="module")
def plain(shared_launcher):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tersely[deepspeed]'")
    done = shared_launcher.run("plain", max_steps=3, save_steps=3)
    assert done.returncode == 0, done.stderr[-3000:]
    return shared_launcher


# under zero3: the cold start below, and losses with a roll-back in test_rollback.py
@pytest.mark.parametrize("stage", ["zero2", pytest.param("zero3", marks=pytest.mark.exhaustive)])
def test_two_processes_train_as_one_without_deepspeed(plain, stage):
    config = str(files("tersely.configs") / "accelerate" / f"{stage}.yaml")
    done = plain.run(
        stage,
        processes=2,
        micro_batch=4,
        max_steps=3,
        save_steps=3,
        timeout=420,
        accelerate=("--config_file", config, "--mixed_precision", "no"),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert (plain.folder / stage / "final" / "model.safetensors").exists()
    first = plain.completions(stage)
    first = first[first.step == 1]
    expected = plain.completions("plain")
    expected = expected[expected.step == 1]
    assert first.text.tolist() == expected.text.tolist()
    np.testing.assert_allclose(plain.losses(stage)[0], plain.losses("plain")[0], atol=1e-4)
    if stage == "zero2":  # without DeepSpeed, or on other ranks, its optimizer shards would not be read
        alone = plain.run(stage, resume=True, max_steps=4, micro_batch=4, save_steps=3)
        assert alone.returncode == 2 and "launcher: " in alone.stderr


def test_a_cold_start_under_zero3_trains_as_without_deepspeed(plain):
    warm = {"name": "warm", "kind": "sft", "steps": 2, "rewrite": "selfbudgeter", "prompts": 12, "samples": 2}
    recipe = {
        "method": "selfbudgeter",
        "reward": "selfbudgeter",
        "advantage": "group_zscore",
        "stages": [{**warm, "batch_size": 4}, {"name": "budgets", "share": 1.0}],
        "max_steps": 1,
        "max_completion_length": 160,
        "micro_batch": 4,
        "processes": 2,
        "timeout": 420,
    }
    config = str(files("tersely.configs") / "accelerate" / "zero3.yaml")
    for name, accelerate in (("cold", ()), ("cold-zero3", ("--config_file", config, "--mixed_precision", "no"))):
        done = plain.run(name, accelerate=accelerate, **recipe)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert len(plain.losses("cold")) == 3
    np.testing.assert_allclose(plain.losses("cold-zero3")[:2], plain.losses("cold")[:2], atol=1e-4)
    texts = [plain.completions(name).text.tolist() for name in ("cold", "cold-zero3")]
    assert texts[0] == texts[1], "the stage after it starts from the same weights"


@pytest.mark.parametrize("stage", [pytest.param("zero2", marks=pytest.mark.exhaustive), "zero3"])
def test_updates_without_a_trained_row_move_nothing(plain, stage):
    """Every answer is cut after two tokens, so all are wrong; weight decay alone would move the weights."""
    import json

    from safetensors.torch import load_file

    from tersely.testbed import model_path

    config = str(files("tersely.configs") / "accelerate" / f"{stage}.yaml")
    done = plain.run(
        f"{stage}-empty",
        processes=2,
        reward="correctness",
        advantage="group_zscore",
        micro_batch=2,
        updates_per_batch=2,
        max_steps=2,
        max_completion_length=2,
        weight_decay=0.5,
        timeout=420,
        accelerate=("--config_file", config, "--mixed_precision", "no"),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    run = plain.folder / f"{stage}-empty"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    skipped = [row["update/skipped"] for row in rows if "update/skipped" in row]
    assert skipped == [1.0, 1.0]
    before, after = (load_file(path / "model.safetensors") for path in (model_path(), run / "final"))
    assert all((before[name] == value).all() for name, value in after.items())


LORA, STEERING = {"rank": 4}, {"method": "steering"}


@pytest.mark.parametrize(
    ("kind", "stage", "peft"),
    [
        ("lora", "zero2", LORA),
        pytest.param("lora", "zero3", LORA, marks=pytest.mark.exhaustive),
        pytest.param("steering", "zero3", STEERING, marks=pytest.mark.exhaustive),
    ],
)
def test_an_adapter_trains_as_without_deepspeed_and_resumes(plain, kind, stage, peft):
    """The last step again, from the checkpoint, is equal to the last bit."""
    import shutil

    from safetensors.numpy import load_file

    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    recipe = {
        "peft": peft,
        "beta": 0.1,
        "max_steps": 2,
        "save_steps": 1,
        "micro_batch": 4,
        "learning_rate": 5e-3,
    }
    recipe |= {"processes": 2, "timeout": 420, "max_completion_length": 48}
    if not (plain.folder / kind).exists():
        done = plain.run(kind, **recipe)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    config = str(files("tersely.configs") / "accelerate" / f"{stage}.yaml")
    name, recipe["accelerate"] = f"{kind}-{stage}", ("--config_file", config, "--mixed_precision", "no")
    done = plain.run(name, **recipe)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    np.testing.assert_allclose(plain.losses(name), plain.losses(kind), atol=1e-4)
    folder = plain.folder / name
    final = load_file(folder / "final" / "adapter_model.safetensors")
    for key, value in load_file(plain.folder / kind / "final" / "adapter_model.safetensors").items():
        np.testing.assert_allclose(final[key], value, atol=1e-3, err_msg=key)
    for later in ("final", "checkpoint-2"):
        shutil.rmtree(folder / later)
    done = plain.run(name, resume=True, **recipe)
    assert done.returncode == 0 and "resuming from checkpoint-1" in done.stdout, (done.stdout + done.stderr)[-4000:]
    again = load_file(folder / "final" / "adapter_model.safetensors")
    assert again.keys() == final.keys() and all(np.array_equal(again[key], final[key]) for key in final)
