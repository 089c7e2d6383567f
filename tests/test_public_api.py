"""The public API is complete: every part that the command line can choose, typed, importable, and documented."""

from importlib.metadata import version
from importlib.resources import files

import pytest

import twosided
from twosided.cli.main import ROOTS
from twosided.settings import describe


def parts_of_the_command_line():
    found = [describe(root) for root in ROOTS.values()]
    commands = len(found)
    for part in found:  # grows while it is iterated
        found += [choice for field in part.fields for choice in field.choices() if choice not in found]
    return found[commands:]


def test_every_part_of_the_command_line_is_public():
    assert [part.name for part in parts_of_the_command_line() if part.name not in twosided.__all__] == []


@pytest.mark.parametrize("name", twosided.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    assert getattr(twosided, name).__doc__


def test_the_package_has_its_version_and_its_types():
    assert twosided.__version__ == version("twosided")
    assert files("twosided").joinpath("py.typed").is_file()
    with pytest.raises(AttributeError):
        _ = twosided.no_such_name
