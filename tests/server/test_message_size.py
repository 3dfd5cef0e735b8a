import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from server.message_size import arrays_bytes, content_bytes, small_bytes


def test_a_message_s_bytes_are_counted_by_hand() -> None:
    array = Array(np.zeros((10, 10), np.float32))
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": array, "bias": array}),
            "metrics": MetricRecord({"loss": 0.5, "list": [1, 2, 3]}),
            "client": ConfigRecord({"text": "abc", "bytes": b"12345", "yes": True, "words": ["a", "bc"]}),
        }
    )
    assert arrays_bytes(content) == 1 + 4 + 2 * (400 + 128)  # 128: numpy's header
    names = len("arrays") + len("metrics") + len("client")
    assert small_bytes(content) == names + (4 + 8 + 4 + 24) + (4 + 3 + 5 + 5 + 3 + 8 + 5 + 3)
    assert content_bytes(content) == arrays_bytes(content) + small_bytes(content)


def test_a_list_counts_by_its_length_not_as_one_value() -> None:
    assert small_bytes(RecordDict({"m": MetricRecord({"x": [0.5] * 100_000})})) > 800_000


def test_an_empty_message_has_no_bytes() -> None:
    assert content_bytes(RecordDict()) == 0
