"""How a student is trained and seen: alignment, losses, the Lightning module, evaluation, export, report."""

__version__ = "0.1.0"
