"""Loads the trainer's weights into a vLLM engine of the same process.

On GPUs they go in as TRL puts them in. On a CPU vLLM packs its linear layers after loading and drops the originals, so
there they are reloaded through the model runner, which unpacks and packs again. A tied output head is passed over by that
reload (it has no weight of its own to load) and would sample from the head of the first load: it is packed again here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def load_weights(runner: Any, model: Any, on_cpu: bool, tied: bool) -> bool:
    """Every parameter of `model` into vLLM's model runner. False where a tied head may have kept its old weights."""
    parameters = named_parameters(model)
    if not on_cpu:
        for name, value in parameters:
            runner.model.load_weights([(name, value)])
        return True
    # Copies: the reload holds a layer's tensors until the layer is complete, and a gathered shard or a merged adapter
    # is gone by then.
    runner.reload_weights(weights_iterator=((name, value.detach().clone()) for name, value in parameters))
    return repack_tied_head(runner.get_model()) if tied else True


def repack_tied_head(model: Any) -> bool:
    """Pack the output head again from the embedding matrix it shares. False where the model has no such head."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    heads = [module for module in model.modules() if isinstance(module, ParallelLMHead)]
    for head in heads:
        head.quant_method.process_weights_after_loading(head)
    return bool(heads)


def named_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Full parameters under the names vLLM expects, gathered one at a time: TRL's own walk over DeepSpeed, FSDP and PEFT.

    Gathering is a collective, and adapters are merged while the walk lasts: iterate to the end, on every rank.
    """
    from accelerate import Accelerator
    from trl.distributed import DistributedBackend

    from tersely.engines.vllm_import import hidden_from_trl

    with hidden_from_trl():
        from trl.generation.vllm_generation import VLLMGeneration

    accelerator = Accelerator()
    walk = object.__new__(VLLMGeneration)  # only its walk is wanted, not a second engine
    walk.accelerator, walk._dist = accelerator, DistributedBackend(accelerator)
    walk.model = accelerator.unwrap_model(model)
    return walk._iter_named_params()
