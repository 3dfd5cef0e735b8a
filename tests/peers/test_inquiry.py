"""One peer asks others: every answer is used, skipped or refused, and every byte is counted."""

from collections.abc import Mapping

import pytest
import torch

from peers.inquiry import Inquiry, beyond_limit, digest, distance, length, problem_with
from peers.neighbours import Unreachable, too_late, too_long
from peers.wire import STATUS_LIMIT, Parcel, Status, encode_parcel, encode_status, parcel_bytes, ping, pull
from tests.peers.toy_fixture import RUN, initial, toy


class Told:
    """Neighbours that answer what they were told to, and remember what they were asked."""

    def __init__(self, **answers: "bytes | Unreachable") -> None:
        self.answers, self.asked = answers, []

    def ask_all(self, questions: Mapping[str, bytes], *, limit: int, timeout: float) -> dict[str, bytes | Unreachable]:
        self.asked.append((dict(questions), limit, timeout))
        return {name: self.answers[name] for name in questions if name in self.answers}


def inquiry(neighbours: Told, before: int | None = 4) -> Inquiry:
    return Inquiry(toy(), RUN, initial(), neighbours, before)


def status(version: int) -> bytes:
    return encode_status(Status(version, 10, version, False), RUN)


def model(sender: str, version: int = 2) -> bytes:
    return encode_parcel(Parcel(sender, version, 10, initial()), RUN)


def test_pings_are_answered_skipped_or_refused() -> None:
    neighbours = Told(a=status(3), b=Unreachable(too_late(5)), c=b"garbage", d=Unreachable(too_long(9), offence=True))
    found = inquiry(neighbours)
    assert {name: one.version for name, one in found.ping_all(["a", "b", "c", "d", "e"]).items()} == {"a": 3}
    assert found.skipped == {"b": "no answer within 5 s", "e": "it was not asked"}
    assert found.refused == {"c": "its status is not JSON", "d": "its answer has more than 9 bytes"}
    (questions, limit, timeout), = neighbours.asked  # fmt: skip
    assert set(questions.values()) == {ping(RUN, 4)}
    assert (limit, timeout, found.pings) == (STATUS_LIMIT, toy().peers.ping_timeout, 5)


def test_models_are_pulled_with_the_limit_of_the_formula_and_counted() -> None:
    neighbours = Told(a=model("a"), bb=model("bb", version=1), c=status(1), d=model("a"))
    found = inquiry(neighbours)
    parcels = found.pull_all({"a": 1, "bb": 1, "c": 0, "d": 0})
    assert list(parcels) == ["a"]
    assert found.refused["bb"] == "it sent its version 1, and 1 is merged already"
    assert "nothing newer" in found.refused["c"]
    assert "a model of 'a'" in found.refused["d"]
    (questions, limit, timeout), = neighbours.asked  # fmt: skip
    assert questions["bb"] == pull(RUN, 1, 4)
    assert limit == parcel_bytes(initial(), "bb", RUN)
    assert timeout == toy().peers.pull_timeout
    assert found.traffic["a"] == [len(pull(RUN, 1, 4)), parcel_bytes(initial(), "a", RUN)]
    assert found.model_bytes == sum(answered for _, answered in found.traffic.values())


def test_what_is_asked_later_is_counted_with_what_was_asked_before() -> None:
    neighbours = Told(a=status(3), b=status(2))
    found = inquiry(neighbours)
    for names, pings in ((["a", "b"], 2), (["a"], 3), ([], 3)):
        found.ping_all(names)
        assert found.pings == pings
    assert found.traffic == {
        name: [times * len(ping(RUN, 4)), times * len(answer)]
        for name, times, answer in (("a", 2, status(3)), ("b", 1, status(2)))
    }


def test_nobody_is_asked_where_nobody_has_anything() -> None:
    neighbours = Told()
    assert inquiry(neighbours).pull_all({}) == {}
    assert neighbours.asked == []


def far(value: float) -> Parcel:
    return Parcel("a", 5, 10, {"body.weight": torch.full((2, 3), value), "head.bias": torch.zeros(3)})


def test_a_model_that_is_too_far_is_not_merged() -> None:
    own = {name: torch.zeros_like(array) for name, array in initial().items()}
    assert problem_with(far(1.0), own, toy(), "") == ""
    assert "more than 1000 times" in problem_with(far(1e6), own, toy(), "")
    assert "federation.norm_limit = 2" in beyond_limit(far(1.0).arrays, own, toy(federation__norm_limit=2))
    assert beyond_limit(far(0.8).arrays, own, toy(federation__norm_limit=2)) == ""
    assert beyond_limit(far(1e6).arrays, own, toy()) == ""


def test_a_model_that_is_exactly_as_far_as_the_limit_is_within_it() -> None:
    own = {name: torch.zeros_like(array) for name, array in initial().items()}
    five = own | {"head.bias": torch.tensor([3.0, 0.0, 4.0])}
    assert beyond_limit(five, own, toy(federation__norm_limit=5.0)) == ""
    assert beyond_limit(five, own, toy(federation__norm_limit=4.999)) != ""


def test_only_a_model_whose_whole_digest_is_the_last_ones_is_a_repetition() -> None:
    again, strict = digest(far(1.0).arrays), toy(peers__refuse_repeats=True)
    for place, digit in enumerate(again):
        other = again[:place] + ("0" if digit != "0" else "1") + again[place + 1 :]
        assert problem_with(far(1.0), initial(), strict, other) == ""
    alike = next(value for value in map(float, range(2, 1000)) if digest(far(value).arrays)[0] == again[0])
    assert problem_with(far(alike), initial(), strict, again) == ""


def test_a_repeated_model_is_refused_only_where_that_is_asked_for() -> None:
    again = digest(far(1.0).arrays)
    assert problem_with(far(1.0), initial(), toy(), again) == ""
    strict = toy(peers__refuse_repeats=True)
    assert "under a new number" in problem_with(far(1.0), initial(), strict, again)
    assert problem_with(far(2.0), initial(), strict, again) == problem_with(far(1.0), initial(), strict, "") == ""


def test_lengths_and_distances_are_euclidean() -> None:
    one, other = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, {"a": torch.zeros(1), "b": torch.zeros(1)}
    assert length(one) == distance(one, other) == pytest.approx(5)
    assert digest(one) == digest(dict(reversed(one.items()))) != digest(other)
