"""Tables in terminals of any width: every digit is there."""

from __future__ import annotations

import re
import sys

import pytest

from distill.commands.tables import print_table, table_of


@pytest.mark.parametrize("width", [20, 80, 200])
def test_nothing_is_cut_off(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Names go on in the next line; numbers never do."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table = table_of("model", "parameters", "exact match", "bits/char", "agreement", "seconds", "unknown")
    table.add_row("teachers/embedded", "5,139,712", "99.0% ± 1.0%", "0.024", "100.0%", "12.3", "0")
    print_table(table)
    plain = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)  # without bold letters
    head, _, *rows = (line for line in plain.splitlines() if line.strip())
    assert head.split() == ["model", "parameters", "exact", "match", "bits/char", "agreement", "seconds", "unknown"]
    assert rows[0].split()[1:] == ["5,139,712", "99.0%", "±", "1.0%", "0.024", "100.0%", "12.3", "0"]
    assert "".join(row.split()[0] for row in rows) == "teachers/embedded"
