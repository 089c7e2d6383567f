"""Shared by tests."""

import pytest

from twosided.cli.main import main


def call(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    return ended.value.code, out, err
