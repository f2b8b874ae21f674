from __future__ import annotations

import pytest

from tersely.rewards import Verifier


@pytest.fixture(scope="session")
def verifier():
    with Verifier(workers=1, timeout=10) as shared:
        yield shared
