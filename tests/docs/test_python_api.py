"""The page of the Python API: its examples run on the embedded model, and it names what the package exports."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import tersely

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.mark.slow
def test_the_examples_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text().replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, "python-api.md", str(PAGE), 0)
    seen: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    doctest.DocTestRunner(optionflags=flags).run(examples, out=seen.append)
    assert not seen, "".join(seen)


def test_the_page_names_every_export():
    text = PAGE.read_text()
    assert not [name for name in tersely.__all__ if name != "__version__" and f"`{name}" not in text]


def test_every_export_can_be_imported():
    for name in tersely.__all__:
        assert getattr(tersely, name) is not None, name


def test_the_import_loads_nothing_heavy():
    code = "import sys, tersely; tersely.load_recipe('testbed/alp'); print({'torch', 'trl', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
