"""Loads the trainer's weights into a vLLM engine in the same process. Adapters are merged, one layer at a time.

On GPUs they are loaded as in TRL. On a CPU, vLLM packs its linear layers after loading and drops the originals, so the
weights are reloaded through the model runner, which unpacks and packs again. That reload skips a tied output head (it has
no separate weight), which would keep the head of the first load, so it is repacked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any


def load_weights(runner: Any, model: Any, on_cpu: bool, tied: bool) -> bool:
    """Load all parameters of `model` into vLLM's model runner. False if a tied head may have kept its old weights."""
    parameters = named_parameters(model)
    if not on_cpu:
        for name, value in parameters:
            runner.model.load_weights([(name, value)])
        return True
    # Copies: the reload keeps a layer's tensors until the layer is complete, but a gathered shard or a merged adapter
    # is freed before that.
    runner.reload_weights(weights_iterator=((name, value.detach().clone()) for name, value in parameters))
    return repack_tied_head(runner.get_model()) if tied else True


def repack_tied_head(model: Any) -> bool:
    """Repack the output head from the shared embedding matrix. False if the model has no such head."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    heads = [module for module in model.modules() if isinstance(module, ParallelLMHead)]
    for head in heads:
        head.quant_method.process_weights_after_loading(head)
    return bool(heads)


def named_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over full parameters with vLLM's names, gathered one at a time, with TRL's code for DeepSpeed, FSDP and PEFT.

    Of a model with an adapter, the merged weights, with steering vectors as biases of a Llama. Gathering is a
    collective: iterate to the end, on every rank.
    """
    from accelerate import Accelerator
    from trl.distributed import DistributedBackend

    from tersely.engines import steering
    from tersely.engines.adapter import merged_parameters
    from tersely.engines.vllm_import import hidden_from_trl

    with hidden_from_trl():
        from trl.generation.vllm_generation import VLLMGeneration

    accelerator = Accelerator()
    walk = object.__new__(VLLMGeneration)  # only for its iteration, without a second engine
    walk.accelerator, walk._dist = accelerator, DistributedBackend(accelerator)
    walk.model = accelerator.unwrap_model(model)
    if not hasattr(walk.model, "peft_config"):
        return walk._iter_named_params()
    found = merged_parameters(walk.model, walk._dist.gather_params)
    if steering.is_steered(walk.model):
        found = chain(found, steering.zero_biases(walk.model.get_base_model()))
    return ((walk._fix_param_name_to_vllm(name), value) for name, value in found)
