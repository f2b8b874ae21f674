"""The end of a process whose collectives ran in threads: the interpreter is not taken apart beneath them."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """End with `status` once threads that are no daemons are joined, `atexit` functions have run and output is written.

    What an interpreter does after that is left out. gloo's threads outlive `destroy_process_group` for as long as a wrapped
    model holds the group, and one of them that lets go of a tensor while the interpreter is taken apart asks for a lock
    which is no longer given: CPython ends that thread inside a destructor, and the C++ runtime answers with SIGABRT
    ("terminate called without an active exception") to a run whose work was done. `multiprocessing` ends its children
    as this does.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it has gone
            stream.flush()
    os._exit(status)
