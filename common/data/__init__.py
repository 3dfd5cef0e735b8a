"""Images and labels: where they come from, how they are split, and which client holds which."""

from common.data.dataset import Dataset, Split, class_counts, normalisation
from common.data.partitions import partition
from common.data.preparation import SOURCES, prepare
from common.data.source import HOSPITAL_PARTS, PARTS, SERVER_PARTS
from common.data.splits import stratified_draw

__all__ = [
    "HOSPITAL_PARTS",
    "PARTS",
    "SERVER_PARTS",
    "SOURCES",
    "Dataset",
    "Split",
    "class_counts",
    "normalisation",
    "partition",
    "prepare",
    "stratified_draw",
]
