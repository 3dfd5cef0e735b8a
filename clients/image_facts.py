"""What all who train one model must know of its images."""

from dataclasses import dataclass

from common.data import Dataset, normalisation


@dataclass(frozen=True)
class ImageFacts:
    """What a run's images are like.

    Attributes:
        classes: the classes' names.
        channels: of an image.
        image_size: side in pixels.
        mean, std: of each channel of the public images, in units of [0, 1].
    """

    classes: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_facts(dataset: Dataset) -> ImageFacts:
    """Return what the images of a data set are like; the normalisation is its public split's."""
    mean, std = normalisation(dataset.public)
    return ImageFacts(dataset.classes, dataset.channels, dataset.image_size, tuple(mean), tuple(std))
