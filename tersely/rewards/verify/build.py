"""Builds the verifier from a recipe's `verifier:` section, with a judge where it names one.

verifier: {contract: answer, timeout: 5, judge: {url: http://host:8000/v1, model: ..., format: compass}}

`ended: true`, the default, is the trainer's: an answer counts only if its completion ended by itself, so that a completion
that runs on to the cap after its answer earns nothing. `false` grades truncated completions as they are, as other trainers do.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from tersely.core.errors import ConfigError, check_fields, nearest, typed
from tersely.rewards.verify.judge.client import Judge
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier
from tersely.rewards.verify.verifier import Verifier

_HYBRID = ("require_boxed", "extra_keys")


def make_verifier(spec: Mapping[str, Any]) -> Verifier | JudgedVerifier:
    """Raises `ConfigError` for a key that there is not, before any worker is started."""
    rule = {key: value for key, value in spec.items() if key not in ("judge", "ended")}
    ended = spec.get("ended", True)
    if not isinstance(ended, bool):
        raise ConfigError(f"verifier.ended is {ended!r}; it must be true or false")
    known = list(inspect.signature(Verifier).parameters)
    for key in rule:
        if key not in known:
            raise ConfigError(f"verifier has no key {key!r}; {nearest(str(key), [*known, 'judge', 'ended'])}")
    hints = typing.get_type_hints(Verifier.__init__)
    rule = {
        k: value if k == "policy" else typed(value, hints.get(k, Any), f"verifier: {k}") for k, value in rule.items()
    }
    if spec.get("judge") is None:
        verifier = Verifier(**rule)
        verifier.ended = ended
        return verifier
    if not isinstance(spec["judge"], Mapping):
        raise ConfigError(f"verifier: judge is {spec['judge']!r}; it must be a mapping with url and model")
    asked = dict(spec["judge"])
    hybrid = {key: asked.pop(key) for key in _HYBRID if key in asked}
    judge = Judge(**check_fields(Judge, asked, where="verifier.judge"))
    judged = JudgedVerifier(Verifier(**rule), judge, **hybrid)
    judged.ended = ended
    return judged
