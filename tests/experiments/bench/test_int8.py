"""The findings on int8, of a tiny network."""

from experiments.bench.findings import at_least
from experiments.bench.int8 import PAIRS, findings
from server.latency import BATCH_SIZES


def test_sizes_and_times_are_told_by_pair_and_batch() -> None:
    found = findings("resnet9", 4, repeats=2, target=at_least(10.0), seconds=0.001)
    assert found[0].reached() is True
    assert found[0].values()[0] < 75
    assert found[1].path == "onnxruntime int8, resnet9 width 4, 32 px, batch 1"
    assert len(found) == 1 + len(PAIRS) * len(BATCH_SIZES)
    assert all(len(one.ours) == len(one.other) == 2 and min(one.ours + one.other) > 0 for one in found[1:])
