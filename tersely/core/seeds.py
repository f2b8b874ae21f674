"""The one seed function: the randomness of a sample depends on its coordinates, never on call order.

The same sample is drawn whatever the rank that draws it, the batch it is drawn in, or how often the run was restarted.
"""

from __future__ import annotations

import hashlib


def sample_seed(run_seed: int, step: int, prompt_id: str, sample_index: int, salt: str = "rollout") -> int:
    """A 63-bit seed from (run seed, step, prompt id, sample index); `salt` separates uses of the same coordinates."""
    text = f"{salt}|{run_seed}|{step}|{prompt_id}|{sample_index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def stable_id(*parts: str) -> str:
    """16 hex digits that name a dataset row: equal parts, equal id, on every machine."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
