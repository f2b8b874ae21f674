"""A checkpoint that holds code is refused, however it is loaded; a manifest does not make it safe."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tersely.core.errors import ConfigError
from tersely.rl.checkpoints import manifest as checkpoint
from tersely.rl.checkpoints.safe_load import FORCE, weights_only

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
SECRET = "hf_AbCdEfGhIjKlMnOp"


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def forced(monkeypatch):
    monkeypatch.setenv(FORCE, "0")  # and as it was behind the test
    weights_only()


def test_a_call_that_asks_for_everything_gets_weights_alone(forced, tmp_path):
    torch.save({"state": Hostile(tmp_path / "ran")}, tmp_path / "states.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "states.pt", weights_only=False)
    torch.save({"step": 3, "weights": torch.ones(2)}, tmp_path / "states.pt")
    assert torch.load(tmp_path / "states.pt", weights_only=False)["step"] == 3
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_resume_runs_nothing_that_lies_in_a_sealed_checkpoint(make_trainer, tmp_path, name):
    make_trainer(**SAVING, max_completion_length=4).train()
    folder = tmp_path / "run" / "checkpoint-1"
    torch.save({"state": Hostile(tmp_path / "ran")}, folder / name)
    checkpoint.seal(folder, 1, checkpoint.component_state(folder))
    assert checkpoint.fault(folder) is None, "sealed again by whoever changed it"
    with pytest.raises(pickle.UnpicklingError):
        make_trainer(**SAVING, max_completion_length=4).train(resume_from_checkpoint=str(folder))
    assert not (tmp_path / "ran").exists()


def test_no_checkpoint_holds_a_token_or_the_pickled_arguments(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    trainer = make_trainer(**SAVING, max_completion_length=4, hub_token=SECRET)
    assert os.environ["HF_TOKEN"] == SECRET and trainer.args.hub_token is None
    trainer.train()
    trainer.save_final(tmp_path / "run" / "final")
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} >= {"checkpoint-1", "checkpoint-2", "final"}
    for path in files:
        assert path.name != "training_args.bin" and SECRET.encode() not in path.read_bytes(), path


def test_what_deepspeed_writes_comes_through(forced, tmp_path, monkeypatch):
    """A resume and a roll-back under ZeRO-2 and ZeRO-3: tests/e2e/test_rollback.py."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tersely[deepspeed]'")
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    written = {
        "loss_scaler": LossScaler(scale=4.0),
        "dynamic": DynamicLossScaler(4.0, 2.0, 10, 1.0, 2, True),
        "zero_stage": ZeroStageEnum(2),
        "where": fragment_address(numel=7, start=3),
    }
    torch.save(written, tmp_path / "optim_states.pt")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    weights_only()
    read = torch.load(tmp_path / "optim_states.pt", weights_only=False)
    assert read["zero_stage"] == 2 and read["where"] == written["where"] and read["loss_scaler"].cur_scale == 4.0
    torch.save({**written, "state": Hostile(tmp_path / "ran")}, tmp_path / "optim_states.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "optim_states.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_what_goes_to_the_hub_goes_at_the_end_and_holds_no_pickle(make_trainer, tmp_path, monkeypatch):
    """Between, transformers would pickle every argument into the folder that it uploads."""
    import transformers.trainer as module

    with pytest.raises(ConfigError, match="hub_strategy.* 'every_save'.*end"):
        make_trainer(push_to_hub=True, hub_strategy="every_save")
    uploaded = []

    class Hub:
        def create_repo(self, *args, **kwargs):
            return SimpleNamespace(repo_id="me/run", repo_url="https://hub/me/run")

        def upload_folder(self, folder_path, **_):
            uploaded.append(sorted(path.name for path in Path(folder_path).rglob("*")))

    monkeypatch.setattr(module, "hf_api", Hub)
    trainer = make_trainer(push_to_hub=True, hub_model_id="me/run", save_strategy="steps", save_steps=1)
    trainer.train()
    assert not uploaded
    trainer.save_final(tmp_path / "run" / "final")
    assert len(uploaded) == 1 and "model.safetensors" in uploaded[0] and "training_args.bin" not in uploaded[0]
