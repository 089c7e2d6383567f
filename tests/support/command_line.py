"""Calls of the command line in the test process."""

import pytest

from twosided.cli.main import main


def call(capsys, *argv):
    """Run a command, and return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    out, err = capsys.readouterr()
    return ended.value.code, out, err
