"""Errors that a user can correct."""


class Refusal(ValueError):
    """User-facing error: one sentence that names the file or parameter, the constraint and the value."""
