"""Seeds: the randomness of a sample depends on (run seed, step, prompt id, sample index), never on call order.

The same sample results on any rank, in any batch, and after any number of restarts.
"""

from __future__ import annotations

import hashlib


def sample_seed(run_seed: int, step: int, prompt_id: str, sample_index: int, salt: str = "rollout") -> int:
    """A 63-bit seed from (run seed, step, prompt id, sample index); `salt` separates uses of the same coordinates."""
    text = f"{salt}|{run_seed}|{step}|{prompt_id}|{sample_index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def continued_seed(seed: int, start: int) -> int:
    """Seed for the rest of a sample after its first `start` tokens; the sample's own seed if that is 0."""
    return salted_seed(seed, str(start)) if start else seed


def salted_seed(seed: int, salt: str) -> int:
    """Another 63-bit seed of the same sample, for a use that `salt` names."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{salt}".encode(), digest_size=8).digest(), "little") >> 1


def stable_id(*parts: str) -> str:
    """Id of a dataset row, 16 hex digits: equal parts give equal ids on every machine."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
