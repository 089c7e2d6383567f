"""What each command of the command line takes and does: its fields are the options, their docstrings the help."""
