"""How do tests drive a real browser? Chromium without a window, a server for a folder, and what the browser heard.

A test that needs a browser is skipped where there is none, and says so; on the workflow's machines, which bring one, a
missing browser is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NEEDED = "needs Chromium and its driver: apt-get install chromium chromium-driver, or put both on the PATH"
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
)
# in a formula MathJax draws paths; what it adds for those who listen is MathML; code may hold what looks like LaTeX
VISIBLE = """
const page = document.querySelector('main').cloneNode(true);
page.querySelectorAll('pre, code, mjx-container, script, style').forEach(part => part.remove());
return page.textContent;
"""
RENDERED = """
const done = arguments[0];
const wait = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
wait.then(() => document.fonts.ready).then(() => setTimeout(done, 100));
"""


def programs() -> tuple[str, str] | None:
    """Where the browser and its driver are; GitHub's machines name the driver's folder in a variable."""
    driver = shutil.which("chromedriver") or shutil.which("chromedriver", path=os.environ.get("CHROMEWEBDRIVER", ""))
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(width: int = 1300, height: int = 1600) -> Iterator[webdriver.Chrome]:
    """A fresh browser that remembers what it asked for and what the console said. Skips where there is none."""
    found = programs()
    if not found:
        (pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip)(NEEDED)
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in (*QUIET, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(60)
        yield driver
    finally:
        driver.quit()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """The tests read what the browser saw."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder can be read, ending in a slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def look(driver: webdriver.Chrome, address: str, width: int = 1300, scheme: str = "light") -> None:
    """Open a page as a reader with this width and these colours would, and wait until its formulas are drawn."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    colours = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", colours)
    driver.get(address)
    driver.execute_async_script(RENDERED)


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the console reported as an error since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def asked(driver: webdriver.Chrome) -> list[str]:
    """Every address the page asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [message["params"]["request"]["url"] for message in sent]


def strangers(driver: webdriver.Chrome, home: str) -> list[str]:
    """Addresses beyond ``home`` that the page asked for: readers' addresses would be told to others."""
    return [url for url in asked(driver) if not url.startswith((home, "data:", "blob:", "about:"))]
