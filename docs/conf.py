"""Configuration of Sphinx for the sources that `course.site` lays out (`make site`, `make course`)."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from course.config import load_course

COURSE = load_course(Path(__file__).resolve().parents[1])

project = COURSE.title
author = "The auxlib authors"
copyright = "The auxlib authors; code Apache 2.0, text and figures CC BY 4.0"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["files"]

nb_execution_mode = "off"  # outputs are those of papermill's run
nb_render_markdown_format = "myst"  # of outputs: tables and formulas
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_disable_syntax = ["myst_line_comment", "myst_block_break", "myst_target"]  # JupyterLab shows such lines
myst_heading_anchors = 3
smartquotes = False  # texts are shown as they were written

html_theme = "sphinx_book_theme"
html_title = COURSE.title
templates_path = ["_templates"]
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
html_theme_options = {
    "footer_content_items": ["copyright.html"],
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "navbar_persistent": [],  # one search field, in the sidebar
    "use_download_button": False,  # each notebook's first cell has the links
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
mathjax_path = "tex-svg.js"
copybutton_selector = "div.cell_input pre"


def setup(app: Sphinx) -> None:
    """Add the renderer of formulas, which `course.site` copies next to the sources."""
    app.config.html_static_path.append(str(Path(app.srcdir) / "_static"))
