"""A learner's hour in JupyterLab, in a real browser: run a notebook, get an exercise wrong and right, turn a dial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from tests.course.browser.chromium import chromium, programs, strangers
from tests.course.browser.lab import Page, server
from tests.course.conftest import ROOT

WORKED, ASSIGNMENT, DIALS = "02_product_of_experts", "assignments/01_logits_are_opinions", "01_logits_are_opinions"
WRONG = "def stable_log_softmax(logits):\n    return logits.softmax(-1).log()"
RIGHT = "def stable_log_softmax(logits):\n    return logits - logits.logsumexp(-1, keepdim=True)"
TABS = 60  # presses of the Tab key that may lie between a cell and a dial in it

Open = Callable[[str], Page]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a notebook on a server of its own, which is stopped whatever happens."""
    with ExitStack() as stack:

        def open_(name: str) -> Page:
            driver = stack.enter_context(chromium())
            address, notebook = stack.enter_context(server(tmp_path / "home", ROOT / "notebooks" / f"{name}.ipynb"))
            page = Page(driver, notebook)
            page.open(address)
            return page

        yield open_


def test_a_notebook_runs_from_its_first_cell_to_its_last(opened: Open) -> None:
    page = opened(WORKED)
    page.run_all()
    page.says("mixture agrees with the mean: True")
    assert page.errors() == []
    home = page.driver.current_url.split("/lab")[0]
    assert strangers(page.driver, home) == []
    pictures = page.driver.find_elements(By.CSS_SELECTOR, ".jp-RenderedImage img")
    assert len(pictures) == sum("figure" in cell.metadata.get("tags", []) for cell in page.notebook.cells)
    assert all(picture.get_attribute("naturalWidth") != "0" for picture in pictures)


def test_an_exercise_says_what_is_wrong_and_that_it_is_right(opened: Open) -> None:
    page = opened(ASSIGNMENT)
    page.run_all()
    page.says("1.1  not attempted yet", "check:1.1")
    page.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=slider]"), "the dials of the last cell")
    assert page.errors() == [], "an unsolved notebook runs to its end"
    page.type("exercise:1.1", WRONG)
    page.says("1.1  ✗", "check:1.1")
    assert "its probability has rounded to 0" in page.output("check:1.1")
    page.type("exercise:1.1", RIGHT)
    page.says("1.1  ✓", "check:1.1")


def test_the_dials_are_turned_by_keyboard_and_read_without_colour(opened: Open) -> None:
    page = opened(DIALS)
    page.run_all()
    page.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=slider]"), "the dials")

    def words() -> str:
        """The sentence under the picture; it is written anew at every turn."""
        return page.driver.execute_script("return document.querySelector('[role=status]')?.textContent ?? ''")

    page.until(lambda _: "λ = 1: " in words(), "the words of the first setting")
    before = words()
    assert all(f"{letter} 0." in before for letter in "aenst"), "the words hold the numbers of the bars"
    page.cell().click()
    reach(page, "slider")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda _: "λ = 1.5: " in words(), "λ to go up by one step")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    page.until(lambda _: words() == before, "λ to come back")


def reach(page: Page, role: str, presses: int = TABS) -> None:
    """Press Tab until an element with this role has the focus."""
    for _ in range(presses):
        if page.driver.switch_to.active_element.get_attribute("role") == role:
            return
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
    raise AssertionError(f"no {role} within {presses} presses of Tab")


def test_what_does_not_come_is_named_and_what_fails_is_seen(opened: Open) -> None:
    page = opened(ASSIGNMENT)
    with pytest.raises(TimeoutException, match=r"waited for '1\.1  ✓' below the cell check:1\.1"):
        page.says("1.1  ✓", "check:1.1", seconds=1)
    page.cell().click()
    with pytest.raises(AssertionError, match="no slider within 3 presses"):
        reach(page, "slider", presses=3)
    page.type("exercise:1.1", "raise ValueError('on purpose')")
    page.until(lambda _: "on purpose" in str(page.errors()), "the error")


def test_a_missing_browser_is_a_skip_here_and_a_failure_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMEWEBDRIVER", raising=False)
    assert programs() is None
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"), chromium():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"), chromium():
        pass
