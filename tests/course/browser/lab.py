"""How does a test sit down at JupyterLab? A fresh server with a home of its own, one notebook, a learner's keys."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from course.outputs import tags

START, RUN = 90, 240  # seconds to wait for a server or a page, and for a notebook
FLAGS = ("--no-browser", "--ip=127.0.0.1", "--ServerApp.port=0", "--ServerApp.allow_root=True")
SETTINGS = {
    # all cells are in the page, also those that are not in sight, so that a test may look at them
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@contextmanager
def server(home: Path, notebook: Path) -> Iterator[tuple[str, NotebookNode]]:
    """JupyterLab over a folder that holds a copy of ``notebook`` without its outputs: its address, and that copy."""
    folder = home / "work"
    folder.mkdir(parents=True)
    bare = nbformat.read(notebook, 4)
    for cell in (cell for cell in bare.cells if cell.cell_type == "code"):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(bare, folder / notebook.name)
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with (home / "server.log").open("w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *FLAGS, f"--ServerApp.root_dir={folder}"]
        process = subprocess.Popen(command, env=_environment(home), stdout=log, stderr=subprocess.STDOUT)
        try:
            told = _told(home, process)
            yield f"{told['url']}lab/tree/{notebook.name}?token={told['token']}&reset", bare
        finally:
            process.terminate()  # it stops its kernels
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Ours, but nobody's settings; the cache with the models stays where it is."""
    from auxlib.data.assets import cache_dir

    own = {
        "HOME": home,
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
        "MPLCONFIGDIR": home / "matplotlib",
        "AUXLIB_CACHE": cache_dir(),
    }
    return os.environ | {name: str(path) for name, path in own.items()} | {"OMP_NUM_THREADS": "1"}


def _told(home: Path, process: subprocess.Popen) -> dict[str, str]:
    """Address and token, from the file that a server writes when it listens."""
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        for path in (home / "runtime").glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())
            except ValueError:  # it is still being written
                pass
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{(home / 'server.log').read_text()[-2000:]}")


@dataclass
class Page:
    """An open notebook."""

    driver: Chrome
    notebook: NotebookNode

    def open(self, address: str) -> None:
        """Open it, and wait until the status bar says that its kernel is idle: the notebook's own mark says so too
        early, while there is no kernel yet, and what is run then is never run."""
        self.driver.get(address)
        self.until(
            lambda _: re.search(r"\| Idle", self._one("#jp-main-statusbar").text), "the kernel to be idle", START
        )

    def run_all(self) -> None:
        """Run, Run All Cells: by the menu, as people do."""
        self._named(".lm-MenuBar-itemLabel", "Run").click()
        self._named(".lm-Menu-itemLabel", "Run All Cells").click()

    def cell(self, tag: str = "") -> WebElement:
        """The code cell with this tag, or the last one."""
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        number = next(n for n, cell in enumerate(code) if tag in tags(cell)) if tag else len(code) - 1
        return self.driver.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell")[number]

    def type(self, tag: str, text: str) -> None:
        """Replace what a cell holds, then press Shift+Enter in it and in the one below."""
        editor = self.cell(tag).find_element(By.CSS_SELECTOR, ".cm-content")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", editor)
        editor.click()
        editor.send_keys(Keys.CONTROL, "a")
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})
        for _ in range(2):
            self.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ENTER)

    def says(self, text: str, tag: str = "", seconds: int = RUN) -> None:
        """Wait until the output of a cell holds ``text``."""
        self.until(lambda _: text in self.output(tag), f"{text!r} below the cell {tag or 'at the end'}", seconds)

    def output(self, tag: str = "") -> str:
        """What stands below a cell, also when it is out of sight."""
        found = self.cell(tag).find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")
        return "\n".join(self.driver.execute_script("return arguments[0].textContent", part) for part in found)

    def until(self, condition: Callable[[Chrome], object], what: str, seconds: int = RUN) -> None:
        seen = self.driver.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")
        WebDriverWait(self.driver, seconds, 0.3).until(condition, f"waited for {what}; {len(seen)} outputs there")

    def errors(self) -> Sequence[str]:
        """What was printed to the error stream, by cells or as a traceback."""
        kinds = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]'
        return [part.text for part in self.driver.find_elements(By.CSS_SELECTOR, kinds)]

    def _one(self, selector: str) -> WebElement:
        self.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, selector), selector, START)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def _named(self, selector: str, text: str) -> WebElement:
        self._one(selector)
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return next(part for part in found if part.text == text)
