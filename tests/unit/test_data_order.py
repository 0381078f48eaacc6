"""Which rows come when: exact resume, other rows in its place refused, and every row of a validation once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen.records import Record
from distill.data import InstructionData
from distill.errors import DistillError
from students.tokenizers import ByteView
from tests import instruction_data
from tests.instruction_data import file, ready, some

views = instruction_data.views


def test_the_loader_goes_on_where_the_run_stopped(views: dict[str, ByteView], tmp_path: Path) -> None:
    """The state of one data module in another: the rest of the epoch, then the next one."""
    path = file(tmp_path, "t.jsonl", some(20))

    def made() -> Any:
        return ready(InstructionData(path, batch_size=3, seed=5), views["byte"])

    whole = made()
    loader = whole.train_dataloader()
    expected = [[batch.rows for batch in loader] for _ in range(2)]
    stopped = made()
    taken = []
    for batch in (loader := stopped.train_dataloader()):
        taken.append(batch.rows)
        if len(taken) == 4:
            break
    assert taken == expected[0][:4]
    resumed = made()
    resumed.load_state_dict(stopped.state_dict())
    loader = resumed.train_dataloader()
    assert [[batch.rows for batch in loader] for _ in range(2)] == [expected[0][4:], expected[1]]


@pytest.mark.parametrize(
    ("records", "trainer", "said"),
    [
        (some(12), {}, "with 20 usable rows of data.train, now there are 12: give it the same files, or begin another"),
        (some(20)[::-1], {}, "data.train is not what it was when the run was stopped, in rows or their order"),
        (some(19) + some(1, 40), {}, "data.train is not what it was when the run was stopped"),
        (some(20), {"world_size": 2}, r"on 1 device\(s\), now there are 2: give --trainer.devices 1"),
        (some(20), {"accumulate_grad_batches": 2}, "with trainer.accumulate_grad_batches 1, now it is 2"),
    ],
)
@pytest.mark.parametrize("planned", [False, True])
def test_a_place_among_other_rows_is_refused(
    records: list[Record], trainer: dict[str, int], said: str, planned: bool, views: dict[str, ByteView], tmp_path: Path
) -> None:
    """Whether the state comes before there is a plan or, as with FSDP, after."""
    stopped = ready(InstructionData(file(tmp_path, "t.jsonl", some(20)), batch_size=3), views["byte"])
    stopped.train_dataloader()
    state = stopped.state_dict()
    data = ready(InstructionData(file(tmp_path, "t.jsonl", records), batch_size=3), views["byte"])
    for name, value in trainer.items():
        setattr(data.trainer, name, value)
    if planned:
        data.train_dataloader()
    else:
        data.load_state_dict(state)
    with pytest.raises(DistillError, match=said):
        data.load_state_dict(state) if planned else data.train_dataloader()
    again = ready(InstructionData(file(tmp_path, "u.jsonl", some(20)), batch_size=3), views["byte"])
    again.load_state_dict(state)
    again.train_dataloader()
    again.load_state_dict({"epoch": 1, "position": 2})  # as checkpoints of old have it
    assert (again.plan.epoch, again.plan.position) == (1, 2)


def test_validation_sees_every_row_once(views: dict[str, ByteView], tmp_path: Path) -> None:
    path = file(tmp_path, "v.jsonl", some(11))
    data = ready(InstructionData(path, val=path, batch_size=2), views["byte"])
    batches = list(data.val_dataloader())
    assert max(len(batch.rows) for batch in batches) == 4
    rows = [r for batch in batches for r in batch.rows]
    assert sorted(rows) == list(range(11))
    lengths = data.rows["val"].student.lengths[rows]
    assert (np.diff(lengths) >= 0).all()
    assert ready(InstructionData(path), views["byte"]).val_dataloader() == []
