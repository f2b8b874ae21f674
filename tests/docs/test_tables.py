"""The table of properties: made from the code, the same as in the docs, and able to say no."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import gen_tables as tables
import pytest

from tersely.rewards import REWARDS

PAGE = Path(__file__).parents[2] / "docs" / "methods-length.md"


@pytest.fixture(scope="module")
def properties() -> str:
    return tables.property_table()


def test_the_page_shows_what_the_code_gives(properties):
    start, end = tables.markers("properties")
    shown = PAGE.read_text().partition(start)[2].partition(end)[0].strip()
    assert shown == properties.strip(), "run: python docs/gen_tables.py --write docs/methods-length.md"


@pytest.mark.parametrize("name", ["losses", "advantages"])
@pytest.mark.filterwarnings("ignore:gspo with form")
def test_the_page_of_the_token_methods_shows_what_the_code_gives(name):
    start, end = tables.markers(name)
    shown = (PAGE.parent / "methods-token.md").read_text().partition(start)[2].partition(end)[0].strip()
    assert shown == tables.tables()[name]().strip(), "python docs/gen_tables.py --write docs/methods-token.md"


def test_every_term_has_a_row_and_keeps_or_declares(properties):
    lines = properties.splitlines()[2:]
    assert len(lines) == len(REWARDS)
    for line in lines:
        _, kind, permutes, apart, ordered, finite, *_ = line.strip("| ").split(" | ")
        assert kind in ("whole", "additive") and permutes == finite == "yes"
        assert apart in ("yes", "no: reads the whole batch")
        assert ordered == "yes" or ordered.startswith("no: ")


@dataclass(frozen=True)
class Backwards:
    """Pays wrong answers, leaks over prompts and depends on the order of rows."""

    includes_outcome: ClassVar[bool] = True

    def __call__(self, rollouts):
        value = 1 - rollouts.correct
        value[0] = value[0] + rollouts.length.float().mean()
        return value


def test_a_term_that_breaks_the_contract_is_seen(monkeypatch):
    monkeypatch.setitem(REWARDS, "backwards", Backwards)
    row = tables.property_table(["backwards"]).splitlines()[2]
    assert row.startswith("| `backwards` | whole | no | no | no |")


def test_a_page_without_markers_is_an_error(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="has no lines"):
        tables.write(page)


def test_the_command_writes_and_then_finds_nothing_to_do(tmp_path, capsys):
    page = tmp_path / "page.md"
    start, end = tables.markers("rollouts")
    page.write_text(f"before\n{start}\n{end}\nafter\n")
    assert tables.main(["--write", str(page)]) == 0 and tables.main(["--write", str(page)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("unchanged")
    assert tables.rollouts_table() in page.read_text()
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter\n")
