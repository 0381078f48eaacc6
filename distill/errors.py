"""The one exception of this package that is meant for the user."""


class DistillError(ValueError):
    """A sentence for the user: what is wrong with a recipe, run or model and the way out. The command exits with 2."""
