"""Findings as people and programs read them."""

from __future__ import annotations

import json

from tersely.core.findings import Finding, as_json, failed, show

FOUND = [Finding("ok", "torch", "2.13.0"), Finding("fail", "disk", "[bold]0 GiB[/bold] free", "make room")]


def test_a_line_has_level_subject_text_and_mend_and_no_markup_is_read(capsys):
    show(FOUND, "one of two")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok    torch  2.13.0", "fail  disk   [bold]0 GiB[/bold] free  -> make room", "one of two"]


def test_json_counts_what_cannot_work():
    read = json.loads(as_json(FOUND, recipe="testbed/alp"))
    assert read["failed"] == 1 and read["recipe"] == "testbed/alp"
    assert read["findings"][1] == {"level": "fail", "subject": "disk", "text": FOUND[1].text, "fix": "make room"}
    assert failed(FOUND) == [FOUND[1]]
