"""Imports vLLM in this process, restores the global state that it changes, and hides it from TRL.

In process, on a CPU, vLLM replaces `torch.set_num_threads`, changes LOCAL_WORLD_SIZE (accelerate and DeepSpeed read it),
preloads its libraries into every later child process, and seeds the global generators. TRL imports vLLM if it is installed,
which costs every other run twelve seconds and 300 MB.
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
"""Defaults of vLLM's cache size on a CPU (GiB) and log level; the user's values have priority."""

PUT_BACK = ("LOCAL_WORLD_SIZE", "LD_PRELOAD", "VLLM_ENABLE_V1_MULTIPROCESSING")


def require_vllm() -> None:
    """Raise `ConfigError` if vLLM is not installed."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "engine: vllm needs vLLM, which is not installed. Run `pip install 'tersely[vllm]'` on a machine with a GPU, "
            "`make engines` without one, or use engine: transformers"
        )


@contextmanager
def in_process() -> Iterator[Any]:
    """Context manager to create an engine: yields vLLM's platform (`is_cpu()`), then restores the process's global state."""
    import logging

    import numpy
    import torch

    quiet = "VLLM_LOGGING_LEVEL" not in os.environ
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    before = {name: os.environ.get(name) for name in PUT_BACK}
    threads, states = torch.set_num_threads, (random.getstate(), numpy.random.get_state())
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # its weights must be accessible
    try:
        with torch.random.fork_rng(devices=[]):  # without GPUs: by default it would create a context on each
            # In a thread: exceptions that its modules catch and store would keep our stack frames, and with them a trained
            # model and its optimizer, until the process ends.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(import_module, "vllm.entrypoints.llm").result()
            from vllm.platforms import current_platform

            if quiet:  # the variable is read at import, which may already be done
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
    """Context manager to import TRL's trainer without vLLM, which our engine imports only when used.

    If vLLM is already imported, nothing is hidden, so that TRL's own vLLM modes still work.
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
