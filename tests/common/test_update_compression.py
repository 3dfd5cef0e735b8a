from collections.abc import Mapping
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from common.exchange import array_bytes, arrays_of, to_record
from common.models.resnet9 import ResNet9
from common.update_compression import SCALES, STEPS, compress, decompress, template

Arrays = dict[str, Tensor]
NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


def some_weights(seed: int, spread: float = 1.0) -> Arrays:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"b.weight": (3, 2, 2), "a.weight": (4, 5), "c.bias": (6,), "d.scalar": (), "e.empty": (0, 3)}
    return {name: spread * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def arrays(draw: st.DrawFn, elements: st.SearchStrategy[float] = NUMBERS) -> Arrays:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
    names = st.sampled_from(["first", "second", "third"])
    drawn = draw(st.dictionaries(names, hnp.arrays("float32", shapes, elements=elements), min_size=1))
    return {name: torch.from_numpy(array.copy()) for name, array in drawn.items()}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Arrays, Arrays]:
    """Weights sent and received, of the same names and shapes."""
    received = arrays(draw)
    sent = {
        name: torch.from_numpy(draw(hnp.arrays("float32", tuple(array.shape), elements=NUMBERS)).copy())
        for name, array in received.items()
    }
    return sent, received


def step_of(sent: Tensor, received: Tensor) -> float:
    """One step: the tensor's largest change / 127."""
    change = (sent.double() - received.double()).abs()
    return change.max().item() / 127 if change.numel() else 0.0


@given(pairs())
def test_what_arrives_is_within_half_a_step_of_what_was_sent(pair: tuple[Arrays, Arrays]) -> None:
    sent, received = pair
    compressed, _ = compress(sent, received, {})
    for name, arrived in decompress(compressed, received).items():
        float32_rounding = torch.finfo(torch.float32).eps * arrived.abs().double() + 1e-45
        bound = step_of(sent[name], received[name]) * (0.5 + 1e-5) + float32_rounding
        assert (arrived.double() - sent[name].double()).abs().le(bound).all()


@given(pairs())
def test_arrived_and_residual_together_are_what_was_sent(pair: tuple[Arrays, Arrays]) -> None:
    sent, received = pair
    compressed, residual = compress(sent, received, {})
    for name, arrived in decompress(compressed, received).items():
        lost = sent[name].double() - arrived.double()
        assert residual[name].dtype == torch.float32
        assert torch.equal(residual[name], lost.float())


@given(pairs())
def test_names_shapes_types_and_order_come_back(pair: tuple[Arrays, Arrays]) -> None:
    sent, received = pair
    compressed, residual = compress(sent, received, {})
    arrived = decompress(compressed, received)
    assert list(arrived) == list(received)
    assert {name: array.shape for name, array in arrived.items()} == {n: a.shape for n, a in received.items()}
    assert residual.keys() == received.keys()
    assert {name: (a.shape, a.dtype) for name, a in compressed.items()} == {
        name: (a.shape, a.dtype) for name, a in template(received).items()
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_floating_types_come_back_as_they_were(dtype: torch.dtype) -> None:
    sent, received = ({name: array.to(dtype) for name, array in some_weights(seed).items()} for seed in (1, 2))
    compressed, _ = compress(sent, received, {})
    arrived = decompress(compressed, received)
    assert {array.dtype for array in arrived.values()} == {dtype}
    assert torch.allclose(arrived["a.weight"], sent["a.weight"], atol=0.05)


def rounds(count: int) -> tuple[Arrays, Arrays, Arrays]:
    """Send updates for some rounds; return the sums of what was sent and of what arrived, and the last residual."""
    received, residual = some_weights(0), {}
    sent_sum = {name: torch.zeros_like(array, dtype=torch.float64) for name, array in received.items()}
    arrived_sum = {name: torch.zeros_like(array, dtype=torch.float64) for name, array in received.items()}
    for number in range(1, count + 1):
        update = some_weights(number, spread=10.0**-number)
        sent = {name: array + update[name] for name, array in received.items()}
        compressed, residual = compress(sent, received, residual)
        arrived = decompress(compressed, received)
        for name in received:
            sent_sum[name] += sent[name].double() - received[name].double()
            arrived_sum[name] += arrived[name].double() - received[name].double()
        received = arrived
    return sent_sum, arrived_sum, residual


def test_over_rounds_the_server_misses_the_last_residual_and_nothing_else() -> None:
    sent, arrived, residual = rounds(5)
    for name in sent:
        assert torch.allclose(arrived[name] + residual[name].double(), sent[name], rtol=0, atol=1e-9)
        assert residual[name].abs().le(1e-5).all()  # the first round's was about 0.01 * 0.5


def test_without_feedback_small_updates_beside_a_large_one_are_lost_for_ever() -> None:
    received = {"bias": torch.zeros(2)}
    sent = {"bias": torch.tensor([127.0, 0.25])}  # one step is 1
    arrived, residual = torch.zeros(2), {}
    for _ in range(8):
        compressed, residual = compress(sent, received, residual)
        arrived += decompress(compressed, received)["bias"]
        forgetful = decompress(compress(sent, received, {})[0], received)["bias"]
        assert forgetful.tolist() == [127, 0]
    assert arrived.tolist() == [8 * 127, 8 * 0.25]


def test_no_update_costs_no_error() -> None:
    received = some_weights(1)
    compressed, residual = compress(received, received, {})
    assert not compressed[STEPS].any()
    assert not compressed[SCALES].any()
    assert all(torch.equal(decompress(compressed, received)[name], received[name]) for name in received)
    assert not any(array.any() for array in residual.values())


def test_whole_steps_arrive_exactly() -> None:
    received = {"a.weight": torch.zeros(2, 2), "b.bias": torch.zeros(3)}
    sent = {"a.weight": torch.tensor([[127.0, -3.0], [0.0, 1.0]]), "b.bias": torch.tensor([-12.7, 0.3, 0.1])}
    compressed, residual = compress(sent, received, {})
    assert compressed[STEPS].tolist() == [127, -3, 0, 1, -127, 3, 1]
    assert compressed[SCALES].tolist() == pytest.approx([1.0, 0.1])
    assert torch.equal(decompress(compressed, received)["a.weight"], sent["a.weight"])
    assert not residual["a.weight"].any()


@pytest.mark.parametrize("tiny", [1e-45, 3e-44, 1e-39])
def test_the_smallest_numbers_of_float32_keep_to_half_a_step(tiny: float) -> None:
    received = {"bias": torch.zeros(3)}
    sent = {"bias": torch.tensor([tiny, -tiny, tiny / 2])}
    compressed, _ = compress(sent, received, {})
    (scale,) = compressed[SCALES].tolist()
    assert Fraction(scale) * 127 >= Fraction(sent["bias"].max().item())
    error = (decompress(compressed, received)["bias"].double() - sent["bias"].double()).abs().max()
    assert error <= scale / 2 + 1e-45


def test_equal_arguments_give_equal_bits_and_stay_as_they_were() -> None:
    sent, received, residual = some_weights(1), some_weights(2), some_weights(3, 0.01)
    before = [array.clone() for group in (sent, received, residual) for array in group.values()]
    (first, left), (again, left_again) = (compress(sent, received, residual) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(left[name], left_again[name]) for name in left)
    after = [array for group in (sent, received, residual) for array in group.values()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_order_of_names_does_not_matter() -> None:
    sent, received = some_weights(1), some_weights(2)
    compressed, _ = compress(dict(reversed(sent.items())), dict(reversed(received.items())), {})
    arrived = decompress(compressed, received)
    assert all((arrived[name] - sent[name]).abs().le(0.05).all() for name in sent)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["sent", "residual"])
def test_an_update_that_is_not_finite_is_refused(number: float, where: str) -> None:
    given: dict[str, Arrays] = {"sent": some_weights(1), "received": some_weights(2), "residual": some_weights(3)}
    given[where]["c.bias"][2] = number
    with pytest.raises(ValueError, match="not finite"):
        compress(**given)


def test_an_update_that_would_arrive_as_infinity_is_refused() -> None:
    largest = torch.finfo(torch.float32).max
    # Of 127 steps from -max to max the rounding of the last overshoots.
    sent, received = {"a": torch.tensor([largest, -largest])}, {"a": torch.tensor([-largest, 0.9999 * largest])}
    residual = {"a": torch.tensor([largest / 4, 0.0])}
    with pytest.raises(ValueError, match="arrive as infinity"):
        compress(sent, received, residual)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="only floating types"):
        compress({"a": torch.ones(2, dtype=torch.int64)}, {"a": torch.ones(2, dtype=torch.int64)}, {})


@pytest.mark.parametrize("which", ["sent", "residual"])
@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_other_names_or_shapes_are_refused(which: str, change: str) -> None:
    given: dict[str, Arrays] = {"sent": some_weights(1), "received": some_weights(2), "residual": some_weights(3)}
    if change == "missing":
        del given[which]["c.bias"]
    elif change == "extra":
        given[which]["x"] = torch.zeros(1)
    else:
        given[which]["c.bias"] = torch.zeros(1)
    with pytest.raises(ValueError):
        compress(**given)


def malformed(change: str) -> Mapping[str, Tensor]:
    compressed, _ = compress(some_weights(1), some_weights(2), {})
    changes: dict[str, Arrays] = {
        "float steps": {STEPS: compressed[STEPS].float()},
        "float64 scales": {SCALES: compressed[SCALES].double()},
        "short steps": {STEPS: compressed[STEPS][:-1]},
        "a scale less": {SCALES: compressed[SCALES][:-1]},
        "one more": {"a.weight": torch.zeros(4, 5)},
    }
    if change == "no scales":
        return {STEPS: compressed[STEPS]}
    if change == "weights themselves":
        return some_weights(1)
    return compressed | changes[change]


@pytest.mark.parametrize(
    "change",
    ["float steps", "float64 scales", "short steps", "a scale less", "one more", "no scales", "weights themselves"],
)
def test_a_malformed_compressed_update_is_refused(change: str) -> None:
    with pytest.raises(ValueError):
        decompress(malformed(change), some_weights(2))


@given(st.floats(width=32), st.integers(-128, 127))
def test_any_scale_and_any_byte_unpack_to_float32_without_an_error(scale: float, step: int) -> None:
    received = {"a": torch.ones(2)}
    hostile = {STEPS: torch.tensor([step, 1], dtype=torch.int8), SCALES: torch.tensor([scale])}
    arrived = decompress(hostile, received)["a"]
    assert arrived.dtype == torch.float32  # it may be infinite: the checks of weights follow
    assert torch.equal(arrived, (1 + hostile[STEPS].double() * scale).float()) or arrived.isnan().any()


@pytest.mark.parametrize("width", [8, 64])
def test_a_network_is_sent_in_about_a_quarter_of_its_bytes(width: int) -> None:
    weights = arrays_of(ResNet9(3, 10, width=width))
    compressed, _ = compress(weights, {name: torch.zeros_like(array) for name, array in weights.items()}, {})
    assert array_bytes(to_record(weights)) / array_bytes(to_record(compressed)) > 3.9
