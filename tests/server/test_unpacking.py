import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given
from hypothesis import strategies as st

from server.unpacking import unpacked_size

PIECE = 5 * 2**20
"""Bytes after which Flower begins a new piece."""


def parts(content: RecordDict) -> dict[str, bytes]:
    return {identity: part.deflate() for identity, part in get_all_nested_objects(content).items()}


@given(st.lists(st.integers(1, 2000), max_size=5))
def test_what_does_not_repeat_takes_what_was_sent_and_its_arrays(sizes: list[int]) -> None:
    arrays = {f"w{n}": Array(np.full(size, n, np.float32)) for n, size in enumerate(sizes)}
    sent = parts(RecordDict({"arrays": ArrayRecord(arrays)}))
    size = unpacked_size(sent)
    data = sum(len(array.data) for array in arrays.values())
    assert sum(map(len, sent.values())) + data <= size <= sum(map(len, sent.values())) + data + 200 * len(arrays)


def test_a_piece_counts_as_often_as_it_stands_in_its_array() -> None:
    zeros = np.zeros(20 * PIECE // 4, np.float32)
    sent = parts(RecordDict({"arrays": ArrayRecord({"w": Array(zeros)})}))
    assert sum(map(len, sent.values())) < 3 * PIECE
    assert unpacked_size(sent) > zeros.nbytes


def test_what_flower_does_not_write_is_an_error() -> None:
    sent = parts(RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros(4, np.float32))})}))
    chunk = next(identity for identity, part in sent.items() if part.startswith(b"ArrayChunk"))
    del sent[chunk]
    with pytest.raises(KeyError):
        unpacked_size(sent)
