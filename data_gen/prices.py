"""What tokens cost: a plain YAML that the user can edit, looked up by the model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.errors import DataError, of_yaml
from teachers.base import nearest

SHIPPED = Path(__file__).parent / "prices.yaml"
OWN = Path("prices.yaml")
DATED = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|\d{4}|latest|preview)$")
KINDS = ("input", "output", "cached", "batch")


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens of one model."""

    input: float
    output: float
    cached: float | None = None
    batch: float = 1.0
    currency: str = "$"

    def of(self, usage: Mapping[str, int], factor: float = 1.0) -> float:
        """What these tokens cost; `factor` is the share of the full price."""
        cached = usage.get("cached_tokens", 0) if self.cached is not None else 0
        read = (usage.get("prompt_tokens", 0) - cached) * self.input + cached * (self.cached or 0.0)
        return factor * (read + usage.get("completion_tokens", 0) * self.output) / 1e6


FREE = Price(0.0, 0.0)
"""What runs on this machine"""


def price_of(model: str, file: str | Path | None = None) -> Price | None:
    """The price of a model or its undated name: from `file` or ./prices.yaml, then the shipped list; None: unknown."""
    own = Path(file) if file else OWN if OWN.is_file() else None
    for path in [own, SHIPPED] if own else [SHIPPED]:
        prices = read_prices(path)
        for name in (model, DATED.sub("", model), model.rpartition("/")[2], DATED.sub("", model.rpartition("/")[2])):
            if name in prices:
                return prices[name]
    return None


def missing(model: str, file: str | Path | None = None) -> DataError:
    """The error for a model without a price where money is counted."""
    known = read_prices(Path(file) if file else SHIPPED)
    return DataError(
        f"no price is known for model {model!r}{nearest(model, known)}: write "
        f"'models: {{{model}: {{input: 1.0, output: 2.0}}}}' (money per million tokens) into prices.yaml here, "
        "or count tokens with --budget-tokens"
    )


def read_prices(path: Path) -> dict[str, Price]:
    """{model: price}; DataError names what is wrong with the file."""
    import yaml

    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the prices in {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML, {of_yaml(error)}") from None
    models = table.get("models") if isinstance(table, dict) else None
    if not isinstance(models, dict):
        raise DataError(f"{path} must hold 'models:' with a line a model, such as gpt-4o: {{input: 2.5, output: 10}}")
    currency = str(table.get("currency", "$"))
    return {str(name): _price(path, str(name), values, currency) for name, values in models.items()}


def _price(path: Path, name: str, values: Any, currency: str) -> Price:
    if not isinstance(values, dict) or not {"input", "output"} <= values.keys():
        raise DataError(f"{path}: the price of {name} needs 'input' and 'output', money per million tokens")
    for kind, value in values.items():
        if kind not in KINDS:
            raise DataError(f"{path}: the price of {name} has no {kind!r}{nearest(str(kind), KINDS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise DataError(f"{path}: {kind} of {name} must be a number from 0 on, not {value!r}")
    return Price(currency=currency, **values)
