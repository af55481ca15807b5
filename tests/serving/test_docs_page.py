"""The OpenAPI page in a real browser, from a real server: it shows every route, and asks that server only."""

import pytest

from tests.reports.test_browser import chromium, requests  # noqa: F401 a fixture is found by its name
from tests.serving.processes import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    with serving(model, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def page(server, chromium):  # noqa: F811
    from selenium.webdriver.support.wait import WebDriverWait

    chromium.get("about:blank")
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(f"{server.url}/docs")
    WebDriverWait(chromium, 60).until(lambda browser: browser.find_elements("css selector", ".opblock"))
    return chromium


def test_every_route_is_shown_and_nothing_is_loaded_from_elsewhere(page, server):
    import httpx

    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    shown = page.find_elements("css selector", ".opblock")
    assert len(shown) == sum(len(item) for item in paths.values())
    text = page.find_element("css selector", "main").text.replace("\u200b", "")
    assert all(path in text for path in paths)
    assert "Unable to render" not in text
    asked = {url for url in requests(page) if not url.startswith(("data:", "about:"))}
    names = ["docs", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "openapi.json"]
    assert asked == {f"{server.url}/{name}" for name in names}
    assert page.get_log("browser") == []


def test_a_request_can_be_tried_on_the_page(page):
    from selenium.webdriver.support.wait import WebDriverWait

    page.find_element("css selector", "#operations-Predictions-post_predict .opblock-summary").click()
    wait = WebDriverWait(page, 30)

    def press(selector: str) -> None:
        button = wait.until(lambda browser: browser.find_element("css selector", selector))
        page.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button)

    wait.until(lambda browser: browser.find_elements("css selector", ".try-out__btn"))
    press(".try-out__btn")
    wait.until(lambda browser: browser.find_elements("css selector", ".execute"))
    press(".execute")
    live = wait.until(lambda browser: browser.find_elements("css selector", ".live-responses-table .response"))
    assert live[0].find_element("css selector", ".response-col_status").text.startswith("200")
    assert '"predictions"' in live[0].text
