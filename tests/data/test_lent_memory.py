"""Memory that a loading process lends with a batch: never written again while a tensor lies on it, then used again."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmcontrast.data import lent_memory
from mmcontrast.data.canvas import empty
from mmcontrast.data.handover import Loaded
from mmcontrast.data.lent_memory import Borrower, Lender
from mmcontrast.types import Batch, Column

pytestmark = pytest.mark.skipif(lent_memory.lender() is None, reason="processes cannot open each other's files here")
ROWS, WIDTH = 8, 20_000


def filled(lender: Lender, value: int, *, rows: int = ROWS) -> Tensor:
    tensor = lender.empty((rows, WIDTH), torch.int32)
    assert tensor is not None
    return tensor.fill_(value)


def handed_over(lender: Lender, borrower: Borrower, tensor: Tensor) -> Tensor:
    place = lender.place(tensor)
    assert place is not None
    return borrower.tensor(place)


def blocks(lender: Lender) -> int:
    return len(lender._blocks)


def test_a_block_is_filled_again_when_the_borrowed_tensor_is_gone_and_not_before() -> None:
    lender, borrower = Lender(), Borrower()
    first = filled(lender, 1)
    borrowed = handed_over(lender, borrower, first)
    view = borrowed[2:4]
    del first, borrowed
    second = filled(lender, 2)
    assert blocks(lender) == 2 and bool((view == 1).all())
    del view
    third = filled(lender, 3)
    assert blocks(lender) == 2 and bool((third == 3).all()) and bool((second == 2).all())


def test_layouts_arrive_as_they_were() -> None:
    lender, borrower = Lender(), Borrower()
    tensor = lender.empty((2, 4, 5, 3), torch.uint8)
    assert tensor is not None
    tensor.copy_(torch.arange(120).view(2, 4, 5, 3))
    turned = tensor.permute(0, 3, 1, 2)[:, :, 1:]
    found = handed_over(lender, borrower, turned)
    assert found.stride() == turned.stride() and torch.equal(found, turned)


def test_a_tensor_that_is_dropped_without_being_sent_leaves_its_block_free() -> None:
    lender = Lender()
    tensor = filled(lender, 1)
    del tensor
    filled(lender, 2)
    assert blocks(lender) == 1


def test_the_lenders_own_late_tensor_does_not_free_a_block_that_is_lent_again() -> None:
    lender, borrower = Lender(), Borrower()
    late = filled(lender, 1)
    handed_over(lender, borrower, late)  # the trainer drops it at once, the lender has it still
    again = filled(lender, 2)
    assert blocks(lender) == 1
    del late
    other = filled(lender, 3)
    assert blocks(lender) == 2 and bool((again == 2).all()) and bool((other == 3).all())


def test_batches_of_nearly_one_size_share_a_block() -> None:
    lender = Lender()
    for rows in (32, 31, 30, 32):
        tensor = filled(lender, rows, rows=rows)
        del tensor
    assert blocks(lender) == 1


def test_nothing_is_lent_beyond_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lent_memory, "MOST_BLOCKS", 2)
    lender = Lender()
    held = [filled(lender, number) for number in range(2)]
    assert lender.empty((ROWS, WIDTH), torch.int32) is None
    held.pop()
    assert lender.empty((ROWS, WIDTH), torch.int32) is not None


def test_a_process_that_is_gone_is_an_error_and_its_blocks_are_let_go() -> None:
    lender, borrower = Lender(), Borrower()
    place = lender.place(filled(lender, 1))
    assert place is not None
    gone = lent_memory.Place(2**22 + 1, *list(vars(place).values())[1:])
    borrower._maps[gone.process, 1] = borrower._maps.get((0, 0))  # type: ignore[assignment]
    with pytest.raises(FileNotFoundError):
        borrower.tensor(gone)
    assert not borrower._maps


def test_where_processes_are_hidden_torch_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert lent_memory.lender.__wrapped__() is None


class Numbers(Dataset):
    """Batches that hold their number, on memory that is lent."""

    def __len__(self) -> int:
        return 120

    def __getitem__(self, number: int) -> Loaded:
        values = empty((ROWS, WIDTH), torch.float32).fill_(number)
        dropped = empty((ROWS, WIDTH), torch.float32).fill_(-1.0)
        del dropped
        column = Column("audio", values, torch.ones(ROWS, dtype=torch.bool))
        lender = lent_memory.lender()
        assert lender is not None
        return Loaded(Batch({"audio": column}, {}, [str(blocks(lender))]))


@pytest.mark.parametrize("held", [0, 3, 100])
def test_batches_of_loading_processes_keep_their_values_however_long_they_are_held(held: int) -> None:
    kept: list[tuple[int, Loaded]] = []
    for number, loaded in enumerate(DataLoader(Numbers(), batch_size=None, num_workers=2)):
        kept.append((number, loaded))
        for expected, each in kept:
            values = each.batch.columns["audio"].values
            assert isinstance(values, Tensor) and bool((values == expected).all())
        kept = kept[-held:] if held else []


def test_a_loading_process_uses_few_blocks_for_many_batches() -> None:
    most = max(int(loaded.batch.keys[0]) for loaded in DataLoader(Numbers(), batch_size=None, num_workers=1))
    assert 1 <= most <= 8
