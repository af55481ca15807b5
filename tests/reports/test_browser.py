"""The reports in a real Chromium: nothing loaded, nothing wrong, readable on a phone, light and dark."""

import json
import os
import shutil
from pathlib import Path

import pytest

from hfpc.reports.evaluation_report import evaluation_report
from hfpc.reports.run_report import run_report, write_run_report
from hfpc.reports.training_curves import training_curves
from hfpc.runs import Run, Task
from tests.reports.samples import STARTED, empty_evaluation, evaluation, history, label_names, run

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
PHONE, DESKTOP = 360, 1200


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        message = "Debian's chromium and chromium-driver are not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def show(chromium):
    """Opens a file at a width in a colour scheme; fails on any request but for the file, and any console message."""

    def show(file: Path, width: int = DESKTOP, scheme: str = "light"):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": width == PHONE}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chromium.get("about:blank")
        chromium.get_log("browser"), chromium.get_log("performance")
        chromium.get(file.as_uri())
        assert chromium.get_log("browser") == []
        requested = {url for url in requests(chromium) if not url.startswith("data:")}
        assert requested == {file.as_uri()}
        return chromium

    return show


def requests(chromium) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    return [entry["params"]["request"]["url"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]


def shards() -> Run:
    """A run with more tasks side by side than a phone has room for, and an arrow past a task."""
    tasks = [Task(name="start", display_name="Start", component="c", state="succeeded", started=1.0, ended=2.0)]
    names = [f"shard[{index}]" for index in range(5)]
    tasks += [
        Task(
            name=name,
            display_name=f"Embed the pages of {name}",
            component="c",
            state="running",
            started=2.0,
            needs=("start",),
        )
        for name in names
    ]
    tasks += [
        Task(name="merge", display_name="Merge", component="c", needs=tuple(names[:4])),
        Task(name="publish", display_name="Publish", component="c", needs=("merge", names[4])),
    ]
    return Run(id="shards", pipeline="shards", state="running", started=1.0, tasks=tuple(tasks))


def long_chain() -> Run:
    tasks = [
        Task(name=f"t{index}", display_name=f"Task {index}", component="c", needs=(f"t{index - 1}",))
        for index in range(14)
    ]
    return Run(id="chain", pipeline="chain", state="running", started=STARTED, tasks=tuple(tasks))


PAGES = {
    "curves": lambda: training_curves(history()),
    "long curves": lambda: training_curves(history(40_000)),
    "no curves": lambda: training_curves([]),
    "evaluation of 2 labels": lambda: evaluation_report(evaluation(["negative", "positive"])),
    "evaluation of 5 labels": lambda: evaluation_report(evaluation(label_names(5))),
    "evaluation of 150 labels": lambda: evaluation_report(evaluation(label_names(150))),
    "evaluation of nothing": lambda: evaluation_report(empty_evaluation()),
    "run": lambda: run_report(run()),
    "failed run": lambda: run_report(run("failed")),
    "running run": lambda: run_report(run("running")),
    "shards": lambda: run_report(shards()),
    "long chain": lambda: run_report(long_chain()),
}

FINDINGS = Path(__file__).with_name("findings.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable_everywhere_and_loads_nothing(name, show, home, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGES[name](), encoding="utf-8")
    backgrounds = set()
    for scheme in ("light", "dark"):
        for width in (PHONE, DESKTOP):
            browser = show(file, width, scheme)
            for details in browser.find_elements("css selector", "details:not([open])"):
                browser.execute_script("arguments[0].open = true", details)
            assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width
            assert browser.execute_script(FINDINGS) == [], (scheme, width)
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


def test_every_link_of_a_run_leads_to_something_a_browser_shows(show, home):
    report = write_run_report(run())
    browser = show(report)
    links = {link.get_attribute("href") for link in browser.find_elements("css selector", "a[href]")}
    files = {link for link in links if link.startswith("file:") and "#" not in link}
    assert len(files) == 11
    for link in files:
        browser.get(link)
        kind = browser.execute_script("return document.contentType")
        assert kind == "text/html" if link.endswith((".html", "/model", "/model/")) else kind.startswith("text/"), link
    inner = {link for link in links if link.startswith(f"{report.as_uri()}#")}
    browser.get(report.as_uri())
    for link in inner:
        assert browser.find_elements("id", link.partition("#")[2]), link
    assert links - files - inner == {"https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"}


def test_the_checks_find_what_they_look_for(show, tmp_path):
    """A page with one of each fault: otherwise an empty list of findings would prove nothing."""
    file = tmp_path / "bad.html"
    file.write_text(
        """<!doctype html><html lang="en"><title>bad</title><body style="background: #fff"><main>
        <h1>Bad</h1><h3>Skipped</h3>
        <p style="font-size: 9px">tiny</p><p style="color: #bbb">pale</p><table><tr><td>no caption</td></tr></table>
        <svg><path d="M0 0"/></svg><script>1</script>
        <a class="node" style="position: absolute; left: 0; top: 300px; width: 90px; height: 40px">one</a>
        <a class="node" style="position: absolute; left: 50px; top: 320px; width: 90px; height: 40px">two</a></main>"""
    )
    found = " ".join(show(file).execute_script(FINDINGS))
    for fault in (
        "small text: tiny",
        "contrast",
        "pale",
        "caption",
        "chart",
        "script",
        "heading",
        "overlap: one and two",
    ):
        assert fault in found, fault


def test_a_request_is_found(show, tmp_path):
    file = tmp_path / "asking.html"
    file.write_text('<!doctype html><title>x</title><link rel="icon" href="data:,"><img src="other.png" alt="">')
    with pytest.raises(AssertionError):
        show(file)
