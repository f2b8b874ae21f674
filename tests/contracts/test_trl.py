"""TRL's methods that we override or call, in the published wheel of every listed release."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tersely.launch.preflight import doctor
from tersely.rl.trl.contract import differences, measured, recorded

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)


@pytest.mark.parametrize("version", map(str, doctor.tested()["trl"]["contracts"]))
def test_every_seam_is_as_it_was_tested(version):
    try:
        tree = sources.python_files("trl", version)
    except sources.NoSources as error:
        reason = f"the sources of TRL {version} are out of reach: {error}"
        pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    before = {name: facts for name, facts in recorded()["seams"].items() if name.startswith("trl/")}
    assert before and differences(before, measured(set(before), tree)) == []
