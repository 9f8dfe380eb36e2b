"""What a reader sees: in a real browser, on a desk and on a phone, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.course.browser.chromium import VISIBLE, complaints, look, served, strangers

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated. Check CHANGES for Sphinx")
# many formulas, many figures, a quiz whose answers hold Markdown
PAGES = [
    "notebooks/02_product_of_experts",
    "notebooks/08_generation_as_control",
    "notebooks/06_from_scratch_fine_tuned_or_auxiliary",
]
SCREENS = [(1300, "light"), (1300, "dark"), (390, "light"), (390, "dark")]
DRAWN = "return [...document.images].map(image => [image.currentSrc || image.src, image.naturalWidth])"
BROKEN = "return [...document.querySelectorAll('[data-mjx-error], mjx-merror')].map(found => found.textContent)"
FORMULAS = "return document.querySelectorAll('mjx-container svg').length"
# what sticks out of the window, unless it or a part around it scrolls by itself
TOO_WIDE = """
const calm = box => box && (getComputedStyle(box).overflowX !== 'visible' || calm(box.parentElement));
return [...document.querySelectorAll('main, main *')].filter(part => {
    const left = part.getBoundingClientRect().left, width = Math.max(part.scrollWidth, part.offsetWidth || 0);
    return left + width > innerWidth + 1 && !part.closest('mjx-container') && !calm(part);
}).map(part => part.outerHTML.slice(0, 120));
"""
RAW = re.compile(r"\$[^$\n]+\$|\\[([]|\\[A-Za-z]{2,}|[\^_]\{")


def raw_latex(text: str) -> list[str]:
    """What looks like the source of a formula in the text that a reader sees."""
    return [text[max(0, found.start() - 20) : found.end() + 20] for found in RAW.finditer(text)]


def seen(driver: Chrome, home: str) -> dict[str, list]:
    """Everything that is wrong with the page that is open."""
    return {
        "pictures that are missing": [source for source, width in driver.execute_script(DRAWN) if not width],
        "LaTeX in the text": raw_latex(driver.execute_script(VISIBLE)),
        "formulas that could not be drawn": driver.execute_script(BROKEN),
        "errors on the console": complaints(driver),
        "asked for elsewhere": strangers(driver, home),
        "wider than the screen": driver.execute_script(TOO_WIDE),
    }


def faultless(found: dict[str, list]) -> bool:
    return not any(found.values())


@pytest.mark.parametrize(("width", "scheme"), SCREENS, ids=lambda value: str(value))
@pytest.mark.parametrize("page", ["index", *PAGES], ids=lambda page: page.split("/")[-1])
def test_a_page_is_whole(browser: Chrome, address: str, page: str, width: int, scheme: str) -> None:
    look(browser, f"{address}{page}.html", width, scheme)
    assert browser.execute_script("return document.documentElement.dataset.theme") == scheme
    assert browser.execute_script("return innerWidth") == width
    assert page == "index" or browser.execute_script(FORMULAS) > 10, "formulas are drawn"
    found = seen(browser, address)
    assert faultless(found), found


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('<img src="gone.png">', "pictures that are missing"),
        ("<p>The sum is $\\frac{a}{b}$.</p>", "LaTeX in the text"),
        ("<p>A chance of p(c \\mid x_{&lt;t}).</p>", "LaTeX in the text"),
        ("<mjx-merror>Undefined control sequence</mjx-merror>", "formulas that could not be drawn"),
        ("<script>undefined.what</script>", "errors on the console"),
        ('<img src="http://127.0.0.2:9/pixel.png">', "asked for elsewhere"),
        ("<pre>" + "wide " * 100 + "</pre>", "wider than the screen"),
    ],
)
def test_each_fault_is_seen(browser: Chrome, tmp_path: Path, body: str, what: str) -> None:
    (tmp_path / "page.html").write_text(f"<!doctype html><link rel=icon href=data:,><main><h1>A page</h1>{body}</main>")
    with served(tmp_path) as home:
        look(browser, f"{home}page.html")
        assert seen(browser, home)[what]


def test_a_page_without_fault_has_none(browser: Chrome, tmp_path: Path) -> None:
    text = "costs 5 US$ or <code>$x$</code>, \\n"
    (tmp_path / "page.html").write_text(f"<!doctype html><link rel=icon href=data:,><main>{text}</main>")
    with served(tmp_path) as home:
        look(browser, f"{home}page.html")
        assert faultless(seen(browser, home))


def test_an_answer_opens_by_keyboard_and_is_rendered(browser: Chrome, address: str) -> None:
    look(browser, f"{address}notebooks/08_generation_as_control.html")
    fold = next(
        fold for fold in browser.find_elements(By.TAG_NAME, "details") if fold.find_elements(By.CLASS_NAME, "math")
    )
    assert not fold.get_attribute("open")
    fold.find_element(By.TAG_NAME, "summary").send_keys("\ue007")  # Enter
    assert fold.get_attribute("open")
    assert fold.find_element(By.TAG_NAME, "mjx-container").is_displayed()


def test_a_search_finds_a_notebook(browser: Chrome, address: str) -> None:
    look(browser, f"{address}search.html?q=telescoping")
    found = WebDriverWait(browser, 20).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "ul.search li a"))
    assert any("02_product_of_experts" in link.get_attribute("href") for link in found)
    assert complaints(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index", *PAGES], ids=lambda page: page.split("/")[-1])
def test_axe_finds_nothing(browser: Chrome, address: str, page: str, scheme: str) -> None:
    """Contrast, names of buttons, landmarks and some ninety rules more, by a library that is made for it."""
    look(browser, f"{address}{page}.html", scheme=scheme)
    assert axe_faults(browser) == []


def test_axe_bites(browser: Chrome, tmp_path: Path) -> None:
    page = "<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>{}</main>"
    with served(tmp_path) as home:
        (tmp_path / "bad.html").write_text(
            page.format('<p style="color:#ccc;background:#fff">Pale</p><img src="data:,">')
        )
        look(browser, f"{home}bad.html")
        assert {line.split(":")[0] for line in axe_faults(browser)} == {"color-contrast", "image-alt"}
        (tmp_path / "good.html").write_text(page.format("<p>Dark</p>"))
        look(browser, f"{home}good.html")
        assert axe_faults(browser) == []


def axe_faults(driver: Chrome) -> list[str]:
    """What axe found, with the first place of each."""
    found = Axe().run(driver, options={"resultTypes": ["violations"]})["violations"]
    return [f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}" for fault in found]
