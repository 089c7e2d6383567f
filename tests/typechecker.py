"""Type checker of the test suite: beartype under jaxtyping, with Python's numeric tower (an int is a float)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
