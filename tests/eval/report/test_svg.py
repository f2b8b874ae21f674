import re
import xml.etree.ElementTree as ET

import pytest

from tersely.eval.report.svg import Figure, available, short, svg

pytestmark = pytest.mark.skipif(not available(), reason="matplotlib is not installed (extra: plots)")


def figure(name="a & <b> $x$"):
    def draw(ax):
        ax.plot([1, 2], [3, 4], color="#0a0b01")
        ax.annotate(name, (1, 3))

    return Figure("k", "t", "alt", ["x"], [[1]], draw, [(1, name)])


def test_colours_follow_the_page_and_names_are_escaped():
    text = svg(figure())
    root = ET.fromstring(text)
    assert root.tag.endswith("svg") and "width" not in root.attrib and "viewBox" in root.attrib
    assert "var(--s1)" in text and "currentColor" in text and "#0a0b0" not in text and "#010203" not in text
    assert "a &amp; &lt;b&gt; $x$" in text and "<script" not in text
    assert not re.search(r'href="(?!#k-)|url\((?!#k-)', text)


def test_the_same_bytes_twice():
    assert svg(figure()) == svg(figure())


def test_names_are_cut_short():
    assert short("x" * 30) == "x" * 25 + "…" and short("abc") == "abc"
