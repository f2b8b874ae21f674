"""The page as text, and in a real Chromium."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.report import svg
from tersely.eval.report.write import write_report

HOSTILE = (
    '</pre><script>window.pwned=1</script><img src=x onerror="window.pwned=1">{{ 7*7 }} & \u202e </think> <b>= 7</b>'
)


@pytest.fixture(scope="module")
def page(tmp_path_factory, write_run, record):
    """A report of two runs with a training curve, an audit, a run card, and hostile text everywhere."""
    tmp_path = tmp_path_factory.mktemp("page")
    base, short = write_run(tmp_path / "base", "base"), write_run(tmp_path / "short", "short", scale=0.5, seed=1)
    for folder, name in ((base, "base"), (short, "short")):
        with RecordWriter(folder / "records.jsonl") as writer:
            writer.write(
                record(
                    name,
                    problem_id="<img src=x onerror=window.pwned=1>",
                    level="<i>9</i>",
                    text=HOSTILE,
                    problem=HOSTILE,
                    gold=HOSTILE if name == "base" else "7",
                    answer=HOSTILE,
                    tokens=999,
                    verdict="correct" if name == "base" else "incorrect",
                )
            )
            writer.write(record(name, benchmark='"><script>window.pwned=1</script>', text=HOSTILE))
    (short / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": i, "entropy": 1 / i, "reward": i}) + "\n" for i in range(1, 40))
    )
    (short / "audit.jsonl").write_text(
        json.dumps({"verdict": "correct", "second": "incorrect", "answer": HOSTILE}) + "\n"
    )
    (short / "run.json").write_text(
        json.dumps({"command": ["tersely", "eval", "a b"], "versions": {"x": HOSTILE}, "seed": 0})
    )
    (short / "config.yaml").write_text(f"reward: [{{name: alp}}]  # {HOSTILE}\n")
    return write_report([base, short], "base", tmp_path / "out").with_name("report.html")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        self.ids += [value for name, value in attrs if name == "id"]


def test_one_file_no_network_one_script(page):
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.tags.count("script") == 1 and not {"img", "link", "iframe", "object"} & set(tags.tags)
    assert not [
        a for a in tags.attributes if a[1].startswith("on") or (a[1] in ("src", "href") and not a[2].startswith("#"))
    ]
    assert "default-src 'none'" in text and len(tags.ids) == len(set(tags.ids))
    assert "tersely eval &#39;a b&#39;" in text and page.stat().st_size < 5_000_000
    assert "{{ 7*7 }}" in text and "49 &amp;" not in text


def test_what_it_shows(page):
    text = page.read_text()
    for part in (
        "Conclusions",
        "Glossary",
        "Worst samples",
        "Verifier audit",
        "Entropy",
        "Versions, seeds, hardware",
        "Resolved configuration",
        "Method",
    ):
        assert part in text
    assert json.loads(page.with_name("report.json").read_text())["comparisons"][-1]["verdict"] in text
    assert text.count("<figure") == 2 * 7 - 3 + 2 and text.count('role="img"') == (
        text.count("<figure") if svg.available() else 0
    )


def test_the_glossary_has_the_pitfalls_of_the_benchmarks_shown(tmp_path, write_run):
    folder = write_run(tmp_path / "base", "base", problems=4, samples=2, benchmark="aime24")
    text = write_report([folder], "base", tmp_path / "out").with_name("report.html").read_text()
    assert "<dt>pitfalls of aime24</dt>" in text and "one item is 3.3 points" in text
    assert "pitfalls of math500" not in text


def test_without_matplotlib_there_are_tables(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("tersely.eval.report.html.available", lambda: False)
    text = write_report(list(runs), None, tmp_path / "o").with_name("report.html").read_text()
    assert "<svg" not in text and "tersely[plots]" in text and text.count('<details class="data" open>') == 7


def test_same_runs_same_bytes(runs, tmp_path):
    one, two = (write_report(list(runs), None, tmp_path / n).with_name("report.html").read_bytes() for n in "ab")
    assert one == two


@pytest.mark.slow
def test_fifty_thousand_records_in_five_megabytes(tmp_path, write_run, record):
    text = (
        "<think>\n"
        + "so 3 + 4 = 12 and then some more words about it. " * 60
        + "x = 7. "
        + "Wait, check. " * 60
        + "</think>\n\\boxed{7}"
    )
    folders = [
        write_run(tmp_path / name, name, problems=500, samples=25, scale=s, text=text)
        for name, s in (("base", 1.0), ("a", 0.5), ("b", 0.7), ("c", 0.8))
    ]
    path = write_report(folders, "base", tmp_path / "out")
    assert path.with_name("report.html").stat().st_size < 5_000_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("Chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra: dev)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ.setdefault("SE_OFFLINE", "true")  # selenium must not look for drivers on the network
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def look(browser, script):
    return browser.execute_script(f"return {script}")


@pytest.mark.browser
def test_in_chromium(browser, page):
    browser.get(page.as_uri())
    assert look(browser, "window.pwned === undefined && document.querySelectorAll('img, section script').length === 0")
    # sorts, up and down, by the value behind the text
    rows = "Array.from(document.querySelectorAll('#bench-1 table.sortable')[0].tBodies[0].rows)"
    first = rows + ".map(r => r.cells[0].textContent)"
    heads = "Array.from(document.querySelectorAll('#bench-1 table.sortable')[0].querySelectorAll('th button'))"
    tokens = heads + ".find(b => b.textContent.trim().startsWith('tokens')).click()"
    browser.execute_script(tokens)
    assert look(browser, first) == ["short", "base"]
    browser.execute_script(tokens)
    assert look(browser, first) == ["base", "short"]
    assert look(browser, "document.querySelector('#bench-1 th[aria-sort]').getAttribute('aria-sort')") == "descending"
    # filters
    field = browser.find_element("css selector", "input[data-filter='bench-1']")
    field.send_keys("SHO")
    assert (
        look(browser, "document.querySelector('#bench-1 tbody').rows[0].hidden")
        and look(browser, "document.querySelectorAll('#bench-1 table.sortable')[0].tBodies[0].rows[1].hidden") is False
    )
    # samples: pick, search, fold
    total = look(browser, "document.querySelectorAll('.sample').length")
    assert 1 <= total <= 20 and look(browser, "document.getElementById('shown').textContent") == f"{total} of {total}"
    browser.find_element("id", "search").send_keys("no such words")
    assert look(browser, "document.querySelectorAll('.sample:not([hidden])').length") == 0
    browser.find_element("id", "search").clear()
    browser.find_element("id", "search").send_keys(" ")
    assert look(browser, "document.querySelectorAll('.sample:not([hidden])').length") == total
    assert look(browser, "document.querySelectorAll('details.thinking[open]').length") == 0
    browser.find_element("id", "fold").click()
    assert look(browser, "document.querySelectorAll('details.thinking:not([open])').length") == 0
    assert look(browser, "document.querySelectorAll('mark.after').length") > 1
    assert browser.get_log("browser") == []


@pytest.mark.browser
@pytest.mark.parametrize("width, mode", [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_fits_the_screen_in_both_modes(browser, page, width, mode):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    )
    browser.get(page.as_uri())
    assert look(browser, "document.documentElement.scrollWidth") <= width
    ground = look(browser, "getComputedStyle(document.body).backgroundColor")
    assert (
        sum(map(int, re.findall(r"\d+", ground)[:3])) < 150
        if mode == "dark"
        else sum(map(int, re.findall(r"\d+", ground)[:3])) > 700
    )
    if svg.available():
        box = look(
            browser, "(b => [b.width, b.height])(document.querySelector('.picture svg').getBoundingClientRect())"
        )
        assert 300 < box[0] <= width and box[1] > 180
        ink = look(browser, "getComputedStyle(document.querySelector('.picture svg text')).fill")
        assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 500) == (mode == "dark")
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_prints(browser, page):
    browser.get(page.as_uri())
    browser.get_log("browser")
    assert len(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 50_000
