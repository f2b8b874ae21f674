"""The verifier's names mean the same in whatever order they are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ORDERS = [
    "from tersely.rewards import verify\nimport tersely.rewards.verify",
    "import tersely.rewards.verify\nfrom tersely.rewards import verify",
    "import tersely.rewards\nverify = tersely.rewards.verify",
    "from tersely.rewards.verify.verifier import Verifier as V\nfrom tersely.rewards import verify",
    "from tersely.rewards.verify import verify",
    "import tersely.rewards.verify.extract.find\nimport tersely.rewards\nverify = tersely.rewards.verify",
]


@pytest.mark.parametrize("imports", ORDERS)
def test_verify_can_be_called_in_every_import_order(imports):
    code = (
        f"{imports}\n"
        "import sys, tersely.rewards\n"
        "assert verify('18', 'The answer is 18.').status == 'correct'\n"
        "assert tersely.rewards.verify('18', r'\\boxed{19}').correct == 0.0\n"
        "assert tersely.rewards.verify.Verifier is tersely.rewards.Verifier\n"
        "assert not {'torch', 'sympy', 'transformers'} & set(sys.modules), 'heavy import'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
