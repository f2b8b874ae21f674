"""Our formulas against TRL's own `_compute_loss`, fed the same log-probs through a stub: value and gradient."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from trl import GRPOTrainer

from tersely.core.aggregate import aggregate
from tersely.core.build import build

CASES = {
    "clip": ({"name": "clip"}, "grpo", {}),
    "clip higher": ({"name": "clip", "clip_high": 0.28}, "dapo", {"epsilon_high": 0.28}),
    "dual clip": ({"name": "clip", "dual_clip": 1.5}, "bnpo", {"delta": 1.5}),
    "sequence ratio": ({"name": "clip", "importance": "sequence"}, "grpo", {"importance_sampling_level": "sequence"}),
    "gspo": (
        {"name": "gspo", "clip_low": 0.03, "clip_high": 0.04},
        "grpo",
        {"importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04},
    ),
    "sapo": ({"name": "sapo"}, "sapo", {}),
    "sapo cold": (
        {"name": "sapo", "tau_pos": 0.5, "tau_neg": 2.0},
        "sapo",
        {"sapo_temperature_pos": 0.5, "sapo_temperature_neg": 2.0},
    ),
    "cispo": ({"name": "cispo", "ratio_cap": 1.3}, "cispo", {"epsilon_high": 1.3}),
    "80/20": ({"name": "high_entropy_mask", "fraction": 0.3}, "dapo", {"top_entropy_quantile": 0.3}),
    "kl": ({"name": "kl_penalty", "beta": 0.3}, "grpo", {"beta": 0.3, "use_bias_correction_kl": False}),
    "kl weighted": (
        {"name": "kl_penalty", "beta": 0.3, "importance_weighted": True},
        "grpo",
        {"beta": 0.3, "use_bias_correction_kl": True},
    ),
    "kl around 80/20": (
        {"name": "kl_penalty", "beta": 0.3, "base": {"name": "high_entropy_mask", "fraction": 0.3}},
        "dapo",
        {"beta": 0.3, "use_bias_correction_kl": False, "top_entropy_quantile": 0.3},
    ),
    "sampler": (
        {"name": "sampler_correction", "cap": 1.2},
        "dapo",
        {"use_vllm": True, "vllm_importance_sampling_correction": True},
    ),
}
HOW = {"grpo": "sequence", "sapo": "sequence", "dapo": "token", "cispo": "token", "bnpo": "token"}
ARGUMENTS = ("delta", "sapo_temperature_pos", "sapo_temperature_neg", "use_bias_correction_kl")


def stub(logp, entropy, loss_type, options):
    """What `_compute_loss` reads of a trainer, on one process and one accumulation step."""
    same = SimpleNamespace(
        num_processes=1,
        sync_gradients=True,
        gather=lambda x: x,
        reduce=lambda x, reduction: x,
        pad_across_processes=lambda x, **_: x,
    )
    arguments = {
        "delta": None,
        "sapo_temperature_pos": 1.0,
        "sapo_temperature_neg": 1.05,
        "use_bias_correction_kl": True,
    }
    arguments |= {"steps_per_generation": 1} | {k: v for k, v in options.items() if k in ARGUMENTS}
    trainer = {
        "loss_type": loss_type,
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "vllm_importance_sampling_correction": False,
        "_entropy_bonus_enabled": False,
        "aux_loss_enabled": False,
        "current_gradient_accumulation_steps": 1,
        "max_completion_length": logp.shape[1],
        "accelerator": same,
        "model": SimpleNamespace(training=True),
        "_metrics": {"train": defaultdict(list)},
        "args": SimpleNamespace(**arguments),
        "_get_per_token_logps_and_entropies": lambda *_, **__: (logp, entropy, None),
    }
    trainer |= {k: v for k, v in options.items() if k not in ARGUMENTS}
    trainer = SimpleNamespace(**trainer)
    trainer.get_high_entropy_mask = lambda *a: GRPOTrainer.get_high_entropy_mask(trainer, *a)
    return trainer


@pytest.mark.parametrize("token_credit", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_equal_trl(case, token_credit, make_batch):
    spec, loss_type, options = CASES[case]
    for seed in range(4):
        batch = make_batch(6, 11, seed=seed, dtype=torch.float32, token_credit=token_credit)
        values = {
            f.name: torch.where(batch.valid, v.detach(), 0.0)  # TRL reads its padding
            for f in dataclasses.fields(batch)
            if isinstance(v := getattr(batch, f.name), torch.Tensor)
        }
        batch = dataclasses.replace(batch, **values | {"logp": values["logp"].requires_grad_()})
        inputs = {
            "prompt_ids": torch.zeros(6, 1, dtype=torch.long),
            "prompt_mask": torch.ones(6, 1),
            "completion_ids": torch.zeros(6, 11, dtype=torch.long),
            "completion_mask": batch.mask,
            "advantages": batch.advantage if token_credit else batch.advantage[:, 0],
            "old_per_token_logps": batch.old_logp,
            "ref_per_token_logps": batch.ref_logp,
            "importance_sampling_ratio": (batch.old_logp - batch.sampler_logp).exp().clamp(max=1.2),
            "num_items_in_batch": batch.mask.sum(),
        }
        trainer = stub(batch.logp, batch.entropy, loss_type, options)
        theirs = GRPOTrainer._compute_loss(trainer, None, inputs)
        expected = torch.autograd.grad(theirs, batch.logp)[0]
        per_token, _ = build("loss", spec)(batch)
        ours = aggregate(per_token, batch.mask, HOW[loss_type])
        gradient = torch.autograd.grad(ours, batch.logp)[0]
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-6)
        assert gradient.abs().max() > 1e-3


def test_gmpo_equals_trl_experimental(make_batch):
    from trl.experimental.gmpo import GMPOTrainer

    for seed in range(4):
        batch = make_batch(6, 11, seed=seed, spread=0.8, token_credit=False)
        logp, old = torch.where(batch.valid, batch.logp.detach(), 0.0).requires_grad_(), batch.old_logp.nan_to_num(0.0)
        trainer = stub(logp, batch.entropy.nan_to_num(0.0), "grpo", {"epsilon_low": 0.4, "epsilon_high": 0.4})
        inputs = {
            "prompt_ids": torch.zeros(6, 1, dtype=torch.long),
            "prompt_mask": torch.ones(6, 1),
            "completion_ids": torch.zeros(6, 11, dtype=torch.long),
            "completion_mask": batch.mask,
            "advantages": batch.advantage[:, 0],
            "old_per_token_logps": old,
        }
        theirs = GMPOTrainer._compute_loss(trainer, None, inputs)
        expected = torch.autograd.grad(theirs, logp)[0]
        ours = aggregate(build("loss", "gmpo")(dataclasses.replace(batch, logp=logp))[0], batch.mask, "sequence")
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(torch.autograd.grad(ours, logp)[0], expected, atol=1e-6, rtol=1e-6)
