"""The error that everything about data raises, in a module that imports nothing."""


class DataError(ValueError):
    """A sentence for the user: which file, line or name is wrong and the way out. The command exits with 2."""
