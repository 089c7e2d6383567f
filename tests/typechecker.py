"""Type checker of the tests: shapes and types of every call are checked (see `addopts` in pyproject.toml)."""

from beartype import BeartypeConf, beartype

# PEP 484: an integer is accepted where a float is expected.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
