"""How many examples a property is tested with."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    """`count` examples under the profile `all` (make test-all), the profile's share of them otherwise."""
    return settings(max_examples=max(1, count * settings().max_examples // 100))
