"""A real Chromium, and the accessibility rules that every page must pass."""

import contextlib
import json
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
WCAG_21_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
PHONE = (390, 844)
DESK = (1360, 900)


@contextlib.contextmanager
def chromium(language="zh-TW", size=DESK, rules=None, dark=False):
    """A browser with an empty profile. `rules` are host-resolver rules (`MAP host address`)."""
    with tempfile.TemporaryDirectory(prefix="civicnet-chromium-") as profile:
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
                     f"--user-data-dir={profile}", f"--lang={language}", f"--window-size={size[0]},{size[1]}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        if rules:
            options.add_argument("--host-resolver-rules=" + ", ".join(rules))
        if dark:
            options.add_argument("--force-dark-mode")
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        driver.set_page_load_timeout(30)
        if size == PHONE:
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                   {"width": size[0], "height": size[1], "deviceScaleFactor": 2, "mobile": True})
        try:
            yield driver
        finally:
            driver.quit()


def accessible(driver, what):
    """Fails with every WCAG 2.1 AA violation that axe finds on the page shown."""
    driver.execute_script(AXE.read_text())
    result = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}}).then(done, e => done({error: String(e)}));",
        WCAG_21_AA)
    assert "error" not in result, f"axe could not run on {what}: {result['error']}"
    wrong = [{"rule": v["id"], "help": v["help"], "nodes": [n["html"][:200] for n in v["nodes"][:3]]} for v in result["violations"]]
    assert not wrong, f"{what} breaks WCAG 2.1 AA:\n" + json.dumps(wrong, ensure_ascii=False, indent=1)


def fits(driver, what):
    """Fails when the page is wider than the window, so that a phone would scroll sideways."""
    width, window = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window + 1, f"{what} is {width} px wide in a window of {window}"
