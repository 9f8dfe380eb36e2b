"""How does a notebook start on a machine that somebody else keeps, such as Colab or Binder?

Only a repository with an address can be fetched by such a machine: whoever publishes the course names it in
``course.toml`` as ``repository = "owner/name"``, and generates the notebooks anew. Without it nothing is added.
"""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode

CELL = """\
# On a machine that has never seen the course, such as Colab's: fetch and install it. Anywhere else, nothing happens.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("auxlib") is None:
    if not Path("{name}").is_dir():
        subprocess.run(["git", "clone", "--depth=1", "https://github.com/{repository}"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", "{name}[course]"], check=True)
    sys.path.insert(0, os.path.abspath("{name}"))
    os.chdir("{name}/notebooks")"""


def launch_cell(repository: str) -> NotebookNode:
    """The first cell of code: it does its work once, and nothing where the course is installed."""
    name = repository.rpartition("/")[2]
    cell = nbformat.v4.new_code_cell(CELL.format(repository=repository, name=name))
    cell.metadata = nbformat.from_dict({"tags": ["launch"]})
    return cell


def links(repository: str, slug: str) -> str:
    """Where else to open a notebook, in words and not in pictures that others would have to serve."""
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{slug}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{repository}/main?labpath=notebooks/{slug}.ipynb"
    return f"**Open in**: [Colab]({colab}) · [Binder]({binder})"
