"""Launch cells and links for hosted notebooks (Colab, Binder).

They need the address of a public repository: ``repository = "owner/name"`` in ``course.toml``, after which the
notebooks have to be generated again. Without it nothing is added.
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
    """Return the first code cell, which installs the course where it is missing."""
    name = repository.rpartition("/")[2]
    cell = nbformat.v4.new_code_cell(CELL.format(repository=repository, name=name))
    cell.metadata = nbformat.from_dict({"tags": ["launch"]})
    return cell


def links(repository: str, slug: str) -> str:
    """Return links that open a notebook on a hosted service, as text instead of badges served by other hosts."""
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{slug}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{repository}/main?labpath=notebooks/{slug}.ipynb"
    return f"**Open in**: [Colab]({colab}) · [Binder]({binder})"
