import math

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.introduction import Participant, Spending, read_introduction
from tests.server import federation_fixture as fixture

NAMES = ("a", "b", "c")
PRIVATE = {
    "private": True,
    "accountant": "rdp",
    "delta": 1e-3,
    "noise_multiplier": 1.1,
    "sampling_rate": 0.5,
    "steps_per_round": 4,
}


def message(content: RecordDict | Error) -> Message:
    fixture.grid([])  # outside Flower's processes a message needs to be told who sends it
    query = Message(RecordDict(), dst_node_id=7, message_type="query")
    return Message(content, reply_to=query)


def read(about: dict, identities: dict[int, str] | None = None) -> Participant:
    return read_introduction(7, message(RecordDict({"client": ConfigRecord(about)})), NAMES, identities)


def test_a_client_is_found_by_its_name() -> None:
    assert read(fixture.about("b")) == Participant(7, 1, "b", 10, "test", honest=True, private=False)


def test_a_private_client_announces_what_it_spends() -> None:
    participant = read(fixture.about("a", **PRIVATE))
    assert participant.spending == Spending("rdp", 1e-3, 1.1, 0.5, 4)
    assert participant.problem == ""


def test_a_non_private_client_s_spending_is_not_read() -> None:
    assert read(fixture.about("a", **PRIVATE) | {"private": False}).spending is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "z"}, "introduced itself as 'z', which is no client of the description"),
        ({"records": 0}, "records = 0, not a whole number from 1"),
        ({"records": -3}, "records = -3"),
        ({"records": 10**12}, "records = 1000000000000"),
        ({"records": 1.5}, "records = 1.5"),
        ({"records": True}, "records = True"),
        ({"honest": "yes"}, "honest = 'yes', neither true nor false"),
        ({"private": 1}, "private = 1, neither true nor false"),
        (PRIVATE | {"accountant": "guess"}, "accountant = 'guess'; known are 'prv' and 'rdp'"),
        (PRIVATE | {"delta": 0.0}, "delta = 0.0, not a number from 1e-30 to 1"),
        (PRIVATE | {"delta": 0.5}, "delta = 0.5, which is not below 1/10"),
        (PRIVATE | {"delta": math.nan}, "delta = nan"),
        (PRIVATE | {"noise_multiplier": 0.0}, "noise_multiplier = 0.0"),
        (PRIVATE | {"noise_multiplier": math.inf}, "noise_multiplier = inf"),
        (PRIVATE | {"sampling_rate": 1.5}, "sampling_rate = 1.5, not a number from"),
        (PRIVATE | {"sampling_rate": "0.5"}, "sampling_rate = '0.5'"),
        (PRIVATE | {"steps_per_round": 0}, "steps_per_round = 0, not a whole number"),
        (PRIVATE | {"steps_per_round": 2.0}, "steps_per_round = 2.0"),
        ({"refusal": "data.path = '/x': there is no such folder"}, "data.path = '/x': there is no such folder"),
        ({"strategy": "x" * 20_000}, "more than 10000 bytes"),
    ],
)
def test_what_cannot_be_true_takes_no_part(changes: dict, words: str) -> None:
    participant = read(fixture.about("a") | changes)
    assert words in participant.problem
    assert (participant.name, participant.number) == ("node 7", 3)


@pytest.mark.parametrize("key", [*fixture.about("a"), *PRIVATE])
def test_everything_must_be_said(key: str) -> None:
    about = fixture.about("a", **PRIVATE)
    del about[key]
    assert read(about).problem == "malformed introduction (KeyError)"


def test_who_fails_or_is_silent_takes_no_part() -> None:
    failed = read_introduction(7, message(Error(2, "Traceback\n  RuntimeError: no disk")), NAMES)
    assert failed.problem == "failed to introduce itself: RuntimeError: no disk"
    assert read_introduction(7, None, NAMES).problem == "did not introduce itself in time"


def test_a_key_is_held_to_its_name() -> None:
    assert read(fixture.about("b"), {7: "b"}).problem == ""
    stolen = read(fixture.about("a"), {7: "b"})
    assert (stolen.name, stolen.number) == ("b", 1)
    assert stolen.problem == "its key belongs to 'b', but it says it is 'a'"


def test_where_keys_are_known_an_unknown_one_takes_no_part() -> None:
    assert read(fixture.about("a"), {}).problem == "its key belongs to nobody in this federation"


def test_who_is_silent_is_called_by_the_name_of_its_key() -> None:
    assert read_introduction(7, None, NAMES, {7: "c"}).name == "c"
    assert read_introduction(7, None, NAMES, {7: "no client"}).name == "node 7"


def test_what_a_client_writes_cannot_steer_a_terminal() -> None:
    assert read(fixture.about("a", strategy="\x1b[31mhonest\x07")).strategy == "[31mhonest"


values = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20), st.booleans(), st.binary(max_size=20)
)
keys = st.sampled_from([*fixture.about("a"), *PRIVATE, "refusal"])


@given(st.dictionaries(keys, values))
def test_whatever_is_said_nothing_is_raised_and_what_is_believed_is_in_range(changes: dict) -> None:
    participant = read(fixture.about("a", **PRIVATE) | changes)
    if not participant.problem:
        assert participant.name in NAMES
        assert participant.records >= 1
        spending = participant.spending
        assert (spending is not None) == participant.private
        if spending is not None:
            assert 0 < spending.delta < 1 / participant.records
            assert 0 < spending.sampling_rate <= 1
            assert 0 < spending.noise_multiplier < math.inf
