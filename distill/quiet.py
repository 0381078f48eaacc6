"""transformers without its bars and advice, for verbs that speak for themselves."""

from __future__ import annotations


def quiet_transformers() -> None:
    """Only errors from now on, in this process."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
