"""Builds optimizer, schedule, loggers and verifier before the model is loaded, so that errors surface early."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError, nearest
from tersely.engines.activation_checkpointing import setting
from tersely.rl.config.sections import check_loading, check_template_kwargs

if TYPE_CHECKING:
    from trl import GRPOConfig

STEPS = 10
"""Number of schedule steps that are checked."""


def check_build(run: Recipe, args: GRPOConfig) -> None:
    """Raise `ConfigError` for a setting that would fail after the model is loaded. `args`: the run's GRPOConfig."""
    if args.fp16 and args.device.type == "cpu":
        raise ConfigError("fp16: got true; expected false without a GPU. Remove it")
    optimizer = _optimizer(args)
    _schedule(args, optimizer)
    _reporters(args)
    _model_arguments(args)
    with _as_config_error("verifier"):
        from tersely.rewards.verify.build import make_verifier

        make_verifier(run.verifier).close()
    check_template_kwargs(args.chat_template_kwargs)
    check_loading(run.model_name_or_path, args.model_init_kwargs)


@contextmanager
def _as_config_error(what: str) -> Iterator[None]:
    """Context manager: any exception becomes a one-line `ConfigError` that starts with `what`."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # external code with user values can raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what}: {text}") from error


def _optimizer(args: GRPOConfig) -> Any:
    """Build the optimizer on a dummy parameter."""
    import torch
    from transformers import Trainer

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    given = f" with optim_args {args.optim_args!r}" if args.optim_args else ""
    with _as_config_error(f"optim {getattr(args.optim, 'value', args.optim)}{given}"):
        make, values = Trainer.get_optimizer_cls_and_kwargs(args, model)
        if args.optim_args:
            plain = copy.copy(args)
            plain.optim_args = None
            if repr(Trainer.get_optimizer_cls_and_kwargs(plain, model)[1]) == repr(values):
                raise ConfigError(
                    f"optim_args: got {args.optim_args!r}, which has no effect in optim {args.optim}. Remove it"
                )
        if values.keys() & {"params", "model", "optimizer_dict"}:
            return torch.optim.SGD(model.parameters(), lr=args.learning_rate)  # needs the real model's layers
        return make(model.parameters(), **{"weight_decay": args.weight_decay, **values})


def _schedule(args: GRPOConfig, optimizer: Any) -> None:
    """Check the learning rates of a short run."""
    from transformers.optimization import get_scheduler

    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    if name in ("reduce_lr_on_plateau", "greedy"):
        raise ConfigError(f"lr_scheduler_type: got {name!r}, which needs an evaluation loss. Use linear, cosine")
    given = f" with lr_scheduler_kwargs {args.lr_scheduler_kwargs}" if args.lr_scheduler_kwargs else ""
    with _as_config_error(f"lr_scheduler_type {name}{given}"):
        steps = max(STEPS, args.max_steps)
        scheduler = get_scheduler(
            args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        for rates in getattr(scheduler, "lr_lambdas", []):
            for step in sorted({0, 1, steps // 2, steps - 1, steps}):
                if not math.isfinite(factor := rates(step)) or factor < -1e-9:
                    raise ConfigError(
                        f"lr_scheduler_type {name}{given}: got factor {factor} at step {step}; expected a finite number"
                    )


def _reporters(args: GRPOConfig) -> None:
    """Build each logger's callback, which checks for its package."""
    from transformers.integrations import integration_utils

    known: Mapping[str, Callable[[], Any]] = integration_utils.INTEGRATION_TO_CALLBACK
    for name in args.report_to or []:
        if name not in known:
            raise ConfigError(f"report_to: got {name!r}; {nearest(str(name), [*known, 'none', 'all'])}")
        if name == "mlflow" and not integration_utils.is_mlflow_available():  # its callback would print a traceback
            raise ConfigError(f"report_to: got {name!r}; the package mlflow is not installed. Install it, or remove it")
        with _as_config_error(f"report_to {name}"):
            known[name]()


def _model_arguments(args: GRPOConfig) -> None:
    """Check arguments of `from_pretrained` and of gradient checkpointing, as far as possible without the model."""
    import torch

    given = args.model_init_kwargs if isinstance(args.model_init_kwargs, Mapping) else {}
    for key in ("dtype", "torch_dtype"):
        name = given.get(key)
        if name not in (None, "auto") and not isinstance(
            getattr(torch, str(name).removeprefix("torch."), None), torch.dtype
        ):
            raise ConfigError(
                f"model_init_kwargs: {key} is {name!r}; {nearest(str(name), ('auto', 'bfloat16', 'float16', 'float32'))}"
            )
    attention = given.get("attn_implementation")
    package = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}.get(str(attention))
    if package and find_spec(package) is None:
        raise ConfigError(
            f"model_init_kwargs: attn_implementation: got {attention!r}; the package {package} is not installed. "
            "Use sdpa, or install it"
        )
    if isinstance(attention, str) and "/" not in attention:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        valid = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
        if attention not in valid and not package:
            raise ConfigError(f"model_init_kwargs: attn_implementation: got {attention!r}; {nearest(attention, valid)}")
    valid = [*list(inspect.signature(torch.utils.checkpoint.checkpoint).parameters)[2:-1], "use_reentrant"]
    for key in setting(args, "gradient_checkpointing_kwargs") or {}:
        if key not in (*valid, "preserve_rng_state", "context_fn", "determinism_check", "debug", "early_stop"):
            raise ConfigError(f"gradient_checkpointing_kwargs: unknown key {key!r}; {nearest(str(key), valid)}")
    if args.use_liger_kernel and find_spec("liger_kernel") is None:
        raise ConfigError(
            "use_liger_kernel: got true; the package liger_kernel is not installed. Remove it, or install the package"
        )
    if (backend := args.torch_compile_backend) is not None:
        from accelerate.utils import DynamoBackend

        backends = [member.value.lower() for member in DynamoBackend]
        if backend.lower() not in backends:
            raise ConfigError(f"torch_compile_backend: got {backend!r}; {nearest(backend, backends)}")
    if args.push_to_hub and not args.hub_token:
        from huggingface_hub import get_token

        if get_token() is None:
            raise ConfigError("push_to_hub: got true without a hub token. Run `hf auth login`, or export HF_TOKEN")
