"""The verifier. This package is also callable, as `verify(gold, text)`:

    from tersely.rewards import Verifier, Verdict, verify
    verify("18", "The answer is 18.").status          # "correct"

A package and a function cannot share a name in a parent package, because importing the package would shadow the function.
So the module itself is callable, and `verify` is the same object in any order of imports.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from tersely.configs.verifier import Policy
from tersely.rewards.verify.verdict import Verdict
from tersely.rewards.verify.verifier import Verifier

__all__ = ["Policy", "Verdict", "Verifier", "verify"]

_SHARED: dict[str, Verifier] = {}


def verify(gold: str, response: str, *, contract: str = "answer") -> Verdict:
    """The verdict on one response, by a verifier with one worker that this process keeps for such calls."""
    if contract not in _SHARED:
        _SHARED[contract] = Verifier(workers=1, contract=contract)
    return _SHARED[contract].verify([gold], [response])[0]


class _CallableModule(ModuleType):
    def __call__(self, gold: str, response: str, **options: Any) -> Verdict:
        return verify(gold, response, **options)


sys.modules[__name__].__class__ = _CallableModule
