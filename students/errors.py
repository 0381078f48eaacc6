"""The one exception of this package that is meant for the user."""


class StudentError(ValueError):
    """A sentence for the user: what is wrong with a student or tokenizer and the way out. The command exits with 2."""
