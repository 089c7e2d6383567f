"""What a person did that cannot be done, in one sentence for them to read."""


class Refusal(ValueError):
    """One sentence that names the file or parameter, the constraint and what was given."""
