"""Commands of the command line. The fields of a command are its options, and their docstrings the help."""
