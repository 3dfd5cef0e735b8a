"""The threat models: what the adversary holds, and what is scored.

Our words and names for those of Usynin et al. 2022 (arXiv 2205.02652), and the query attack beside them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Threat:
    """One kind of adversary at inference time.

    Attributes:
        name: as in ``evaluation.threats``.
        gradients_from: whose gradients it follows; ``"nobody"`` for a query attack.
        scored_on: the targets whose accuracy under it is measured, among ``fp32`` and ``int8``.
        sentence: for reports, a full sentence.
    """

    name: str
    gradients_from: str
    scored_on: tuple[str, ...]
    sentence: str


THREATS: dict[str, Threat] = {
    threat.name: threat
    for threat in (
        Threat(
            name="white-box",
            gradients_from="the deployed model itself",
            scored_on=("fp32", "int8"),
            sentence=(
                "The adversary has the deployed model in hand; for int8, whose kernels have no gradient, what counts "
                "is the worst case, image by image, of its fp32 parent's gradients, its fake-quantized twin's, "
                "and queries."
            ),
        ),
        Threat(
            name="insider",
            gradients_from="the fp32 global model that every participant received",
            scored_on=("int8",),
            sentence=(
                "A participant of the federation crafts on the fp32 global model that it received and attacks "
                "the int8 deployment."
            ),
        ),
        Threat(
            name="transfer",
            gradients_from="another federation's model: same architecture, other weights",
            scored_on=("fp32", "int8"),
            sentence=(
                "The adversary holds the model of another federation, of the same architecture and other weights, "
                "and never sees the attacked one."
            ),
        ),
        Threat(
            name="query",
            gradients_from="nobody",
            scored_on=("fp32", "int8"),
            sentence=(
                "The adversary sends images and reads scores, a limited number of times, and holds no model at all."
            ),
        ),
    )
}
"""The threat models by name."""
