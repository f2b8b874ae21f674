"""Imports vLLM in this process, restores the global state that it changes, and hides it from TRL.

In process, on a CPU, vLLM replaces `torch.set_num_threads`, rewrites LOCAL_WORLD_SIZE (accelerate and DeepSpeed read it),
preloads its own libraries into every later child process, and seeds the global generators. TRL imports it wherever it is
installed, which costs every run that does not use it twelve seconds and 300 MB.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tersely.core.errors import ConfigError

DEFAULTS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
"""GiB of cache on a CPU, and its voice; what the user has set stays."""

PUT_BACK = ("LOCAL_WORLD_SIZE", "LD_PRELOAD", "VLLM_ENABLE_V1_MULTIPROCESSING")


def require_vllm() -> None:
    """A clear error where vLLM cannot be had."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "engine: vllm needs vLLM, which is not installed: pip install 'tersely[vllm]' on a machine with a GPU, "
            "`make engines` without one; or use engine: transformers"
        )


@contextmanager
def in_process() -> Iterator[Any]:
    """Make an engine inside: yields vLLM's platform (`is_cpu()`), then undoes what concerns the rest of the process."""
    import logging

    import numpy
    import torch

    quiet = "VLLM_LOGGING_LEVEL" not in os.environ
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    before = {name: os.environ.get(name) for name in PUT_BACK}
    threads, states = torch.set_num_threads, (random.getstate(), numpy.random.get_state())
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # its weights must be within reach
    try:
        with torch.random.fork_rng(devices=[]):  # not the GPUs: naming none would open a context on each
            # In a thread: exceptions that its modules catch and keep would keep our frames, and with them a trained
            # model and its optimiser, for as long as the process lives.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(import_module, "vllm.entrypoints.llm").result()
            from vllm.platforms import current_platform

            if quiet:  # it reads the variable at its import, which may be over
                logging.getLogger("vllm").setLevel(logging.ERROR)
            yield current_platform
    finally:
        torch.set_num_threads = threads
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


@contextmanager
def hidden_from_trl() -> Iterator[None]:
    """Import TRL's trainer inside: it then does without vLLM, which our own engine imports when it is asked for.

    Where vLLM is imported already nothing is hidden, so that TRL's own vLLM modes stay usable beside our trainer.
    """
    import trl.import_utils as utils

    if "vllm" in sys.modules:
        yield
        return
    real = utils.is_vllm_available
    utils.is_vllm_available = lambda *_, **__: False
    try:
        yield
    finally:
        utils.is_vllm_available = real
