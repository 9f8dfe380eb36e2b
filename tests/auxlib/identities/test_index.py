"""The list of identities and the tests' names say the same."""

from __future__ import annotations

import re
from pathlib import Path

import tests.auxlib.identities as listed
from tests.auxlib.identities.conftest import identities_in


def test_every_identity_on_the_list_has_a_test_and_every_test_names_one_on_the_list() -> None:
    names = [
        name
        for path in Path(listed.__file__).parents[1].rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))
    ]
    tested = {identity for name in names for identity in identities_in(name)}
    assert tested == set(re.findall(r"\b[IAC]\d+\b", listed.__doc__))


def test_names_are_read_as_they_are_meant() -> None:
    assert identities_in("test_i08a_a05_the_dial") == ["I8", "A5"]
    assert identities_in("test_i21_control") == ["I21"]
    assert identities_in("test_a_keyword_in_a12_pieces") == identities_in("test_i8_x") == []
