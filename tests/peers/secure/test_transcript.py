"""Who reads a transcript comes to what the peers came to, or is told that it was changed; and learns no secret."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from common.errors import UserError
from peers.secure.cheats import (
    Crooked,
    FalseComplainer,
    Halves,
    Liar,
    OutOfRange,
    Silent,
    SilentAfterDealing,
    Spoiler,
    SumLiar,
    TwoTongues,
    Withholder,
)
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.deal import Deal, Entropy
from peers.secure.field import SMALL
from peers.secure.layout import packed
from peers.secure.messages import say
from peers.secure.party import Outcome, Player, play
from peers.secure.ruling import Ruling
from peers.secure.sharing import pack
from peers.secure.simulation import simulate
from peers.secure.transcript import Verified, verify_transcript, write_transcript
from tests.peers.secure.described import a_whole_round, agreed_result, described
from tests.peers.secure.rounds import a_round, agreed, entropy_of, keys_of, votes

FIVE = packed(5, faults=1, coalition=1, field=SMALL)
SIZE = 12
NAMES = dict(enumerate(["anna", "bert", "carl", "dora", "emil"]))
KNOWN = {NAMES[peer]: key.public_key().public_bytes_raw() for peer, key in keys_of(5).items()}
Line = dict[str, Any]


class Complainer(Player):
    """Says of the second dealer that its part did not come."""

    def complaints(self) -> bytes:
        return bytes(place == 1 for place in range(len(self.ruling.dealers)))


class KeyTongues(TwoTongues):
    phase = "keys"


class FingerprintTongues(TwoTongues):
    phase = "fingerprints"


class ResultTongues(TwoTongues):
    phase = "results"


class ResultLiar(Liar):
    phases = ("results",)


CHEATS: dict[str, dict[int, type[Player]]] = {
    "honest": {},
    **{
        cheat.__name__: {0: cheat}
        for cheat in (
            Silent, SilentAfterDealing, Spoiler, Withholder, Crooked, OutOfRange, FalseComplainer, Complainer, Liar,
            SumLiar, TwoTongues, KeyTongues, ResultTongues, ResultLiar, Halves,
        )
    },
    "tongues at the end": {0: FingerprintTongues},
    "many": dict.fromkeys((0, 1, 2), SumLiar),  # too many: there is no sum
    "tongues and then an end": {0: KeyTongues, 1: Silent, 2: Silent},
    "a culprit and then an end": {0: Withholder, 1: SilentAfterDealing, 2: SilentAfterDealing},
    "gone": dict.fromkeys((0, 1, 2, 3), Silent),
}  # fmt: skip


@cache
def outcome(cheats: str = "honest") -> Outcome:
    cheating = CHEATS[cheats]
    return agreed(a_round(FIVE, cheating, votes(5, SIZE)), cheating)


@cache
def text(cheats: str = "honest") -> str:
    """Return a round's transcript."""
    ended = outcome(cheats)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "transcript.jsonl"
        write_transcript(path, ended.ruling, ended.boards, NAMES)
        return path.read_text(encoding="utf-8")


def lines(cheats: str = "honest") -> list[Line]:
    return [json.loads(line) for line in text(cheats).splitlines()]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every test writes anew."""
    return tmp_path_factory.mktemp("transcripts") / "transcript.jsonl"


def verified(path: Path, told: Sequence[Any] | str, keys: Mapping[str, bytes] | None = KNOWN) -> Verified:
    """Return what follows from a transcript."""
    whole = told if isinstance(told, str) else "".join(json.dumps(line) + "\n" for line in told)
    path.write_text(whole, encoding="utf-8")
    return verify_transcript(path, keys)


def refused(path: Path, told: Sequence[Any] | str, keys: Mapping[str, bytes] | None = KNOWN) -> str:
    """Return the sentence with which a transcript is refused."""
    with pytest.raises(UserError) as why:
        verified(path, told, keys)
    sentence = str(why.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def same(one: Verified, other: Verified) -> bool:
    """Tell whether the same follows from two transcripts."""
    sums = one.sum is other.sum if one.sum is None or other.sum is None else np.array_equal(one.sum, other.sum)
    return sums and (one.accepted, one.culprits, one.silent, one.aborted, one.signed) == (
        other.accepted, other.culprits, other.silent, other.aborted, other.signed
    )  # fmt: skip


def places(told: Sequence[Line], phase: str | None = None, *, last: bool = False) -> list[int]:
    """Return the places of messages: of one phase, or of all but the last, which nothing is said after."""
    final = told[-1]["phase"]
    return [
        place for place, line in enumerate(told)
        if "body" in line and (line["phase"] == phase if phase else last or line["phase"] != final)
    ]  # fmt: skip


# --- what was said is what is read


@pytest.mark.parametrize("keys", [KNOWN, None])
@pytest.mark.parametrize("cheats", CHEATS)
def test_who_reads_a_transcript_comes_to_what_the_peers_came_to(
    path: Path, cheats: str, keys: Mapping[str, bytes] | None
) -> None:
    found, ended = verified(path, text(cheats), keys), outcome(cheats)
    assert found.names == NAMES
    assert found.accepted == tuple(ended.ruling.dealers)
    assert found.culprits == tuple(ended.ruling.culprits)
    assert found.silent == ended.ruling.silent
    assert found.aborted == ended.aborted
    assert (found.sum is None) == (ended.sum is None) == bool(ended.aborted)
    if found.sum is not None:
        assert np.array_equal(found.sum, ended.sum)  # type: ignore[arg-type]
        assert SMALL.signed(found.sum).tolist() == votes(5, SIZE)[list(found.accepted)].sum(axis=0).tolist()


@pytest.mark.parametrize("cheats", ["Crooked", "TwoTongues", "ResultTongues", "Halves"])
def test_every_honest_peers_transcript_tells_the_same(path: Path, cheats: str) -> None:
    """Though of one that says two things, each may have heard them in another order."""
    cheating = CHEATS[cheats]
    ended = a_round(FIVE, cheating, votes(5, SIZE))
    for peer in set(range(5)) - set(cheating):
        write_transcript(path, ended[peer].ruling, ended[peer].boards, NAMES)
        assert same(verify_transcript(path, KNOWN), verified(path, text(cheats)))


def test_who_has_signed_the_result_is_told(path: Path) -> None:
    assert verified(path, text()).signed == (0, 1, 2, 3, 4)
    for cheats in ("Silent", "ResultLiar", "ResultTongues"):
        assert verified(path, text(cheats)).signed == (1, 2, 3, 4)
    assert verified(path, text("many")).signed == ()


@pytest.mark.parametrize("signed", range(6))
def test_a_result_that_three_of_five_signed_is_attested(path: Path, signed: int) -> None:
    """Of whom two may be away and cheat: among three there is an honest one, and one that was not fooled."""
    told = lines()
    kept = [line for line in told if "body" not in line or line["phase"] != "results" or line["sender"] < signed]
    found = verified(path, kept)
    if signed >= 3:
        assert (found.signed, found.attested) == (tuple(range(signed)), True)
    else:
        assert not found.attested


def test_one_round_makes_one_file(path: Path) -> None:
    for _ in range(2):
        write_transcript(path, outcome().ruling, outcome().boards, NAMES)
        assert path.read_text(encoding="utf-8") == text()


def test_a_line_is_a_message_or_the_end_of_a_phase() -> None:
    head, *rest = lines()
    assert set(head) == {"protocol", "run", "round", "peers", "members", "layout", "size", "terms"}
    assert all(set(line) in ({"phase", "end"}, {"phase", "sender", "body", "signature"}) for line in rest)
    assert [line["phase"] for line in rest if "end" in line] == [phase for phase, _ in outcome().boards]


# --- what was changed is refused


@settings(max_examples=60)
@given(st.data())
def test_a_changed_byte_of_what_was_said_is_refused(path: Path, data: st.DataObject) -> None:
    cheats = data.draw(st.sampled_from(["honest", "Crooked", "Complainer", "Liar", "TwoTongues"]))
    told = lines(cheats)
    line = told[data.draw(st.sampled_from(places(told, last=True)))]
    what = data.draw(st.sampled_from(["signature", "body"] if line["body"] else ["signature"]))
    raw = bytearray(base64.b64decode(line[what]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    line[what] = base64.b64encode(bytes(raw)).decode()
    assert "is not signed by it" in refused(path, told)


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_a_line_that_is_taken_out_moved_doubled_or_put_elsewhere_is_refused(path: Path, seed: int) -> None:
    lot = Random(seed)
    told = lines(lot.choice(["honest", "Crooked", "Complainer", "Halves"]))
    place = lot.choice(places(told))
    line = told[place]
    how = lot.choice(["taken out", "moved", "doubled", "of another", "exchanged", "end taken out"])
    event(how)
    elsewhere = [other for other in places(told, last=True) if told[other]["phase"] != line["phase"]]
    ends = [other for other, one in enumerate(told) if "end" in one]
    if how == "taken out":
        del told[place]
    elif how == "moved":
        other = lot.choice(elsewhere)
        told.insert(other - (other > place), told.pop(place))
    elif how == "doubled":
        told.insert(lot.choice([place, lot.choice(elsewhere)]), dict(line))
    elif how == "of another":
        line["sender"] = lot.choice([peer for peer in range(6) if peer != line["sender"]])
    elif how == "exchanged":
        other = lot.choice(elsewhere)
        told[place], told[other] = told[other], told[place]
    else:
        del told[lot.choice(ends)]
    refused(path, told)


@pytest.mark.parametrize("phase", ["keys", "checks", "results"])
def test_what_an_honest_peer_did_not_sign_makes_it_no_culprit(path: Path, phase: str) -> None:
    """Least of all at the end, where nothing that is signed afterwards tells that it said one thing only."""
    for signature in (bytes(64), base64.b64decode(lines()[places(lines(), phase)[0]]["signature"])):
        told = lines()
        here = places(told, phase)[1]
        second = {"body": "AAAA", "signature": base64.b64encode(signature).decode()}
        assert "is not signed by it" in refused(path, [*told[:here], told[here] | second, *told[here:]])


@pytest.mark.parametrize("junk", ["?", " ", "\n", "ä", "==", "="])
@pytest.mark.parametrize("what", ["body", "signature"])
def test_what_stands_for_no_byte_is_refused(path: Path, what: str, junk: str) -> None:
    """Else one and the same round would have many transcripts."""
    told = lines()
    line = told[places(told, "checks")[0]]
    line[what] = line[what][:8] + junk + line[what][8:]
    refused(path, told)


def test_two_phases_that_are_exchanged_are_refused(path: Path) -> None:
    told = lines()
    ends = [0, *(place for place, line in enumerate(told) if "end" in line)]
    parts = [told[one + 1 : other + 1] for one, other in pairwise(ends)]
    for place in range(len(parts) - 1):
        mixed = [*parts[:place], parts[place + 1], parts[place], *parts[place + 2 :]]
        assert "where" in refused(path, [told[0], *(line for part in mixed for line in part)])


def test_the_order_of_a_phases_lines_means_nothing(path: Path) -> None:
    told = lines()
    here = places(told, "checks")
    told[here[0]], told[here[-1]] = told[here[-1]], told[here[0]]
    assert same(verified(path, told), verified(path, text()))


@pytest.mark.parametrize("cheats", CHEATS)
def test_a_file_that_was_cut_is_refused(path: Path, cheats: str) -> None:
    whole = text(cheats)
    starts = [match.end() for match in re.finditer("\n", whole)][:-1]
    for cut in [0, *Random(0).sample(starts, min(8, len(starts)))]:
        refused(path, whole[:cut])
    for cut in Random(1).sample(range(len(whole) - 1), 8):
        refused(path, whole[:cut])


@pytest.mark.parametrize("cheats", ["honest", "many"])
def test_a_file_that_goes_on_is_refused(path: Path, cheats: str) -> None:
    told = lines(cheats)
    ends = [place for place, line in enumerate(told) if "end" in line]
    assert "goes on" in refused(path, [*told, *told[ends[-2] + 1 :]])
    assert "goes on" in refused(path, [*told, {"phase": "rows", "end": True}])
    refused(path, [*told, told[1]])
    refused(path, text(cheats) + "\n")


def test_a_phase_under_another_name_is_refused(path: Path) -> None:
    told = lines()
    for place in [place for place, line in enumerate(told) if "end" in line]:
        changed = lines()
        changed[place]["phase"] = "beacon 3"
        assert "beacon 3" in refused(path, changed)


def test_a_message_under_another_phases_name_is_refused(path: Path) -> None:
    """Who reads the file by eye would take it for something else."""
    told = lines()
    told[places(told, "checks")[2]]["phase"] = "rows"
    refused(path, told)


@pytest.mark.parametrize("third", [0, "body"])
def test_a_third_message_of_one_sender_is_refused(path: Path, third: object) -> None:
    told = lines("TwoTongues")
    twice = [place for place in places(told, "checks") if told[place]["sender"] == 0]
    assert len(twice) == 2
    told.insert(twice[1] + 1, dict(told[twice[0]]) | ({"body": "AAAA"} if third else {}))
    refused(path, told)


def test_who_is_said_to_have_said_two_things_must_have(path: Path) -> None:
    """One of two things alone, or one of them twice, is not what the others heard."""
    told = lines("TwoTongues")
    one, other = (place for place in places(told, "checks") if told[place]["sender"] == 0)
    refused(path, [line for place, line in enumerate(told) if place != one])
    refused(path, [line for place, line in enumerate(told) if place != other])
    told[other] = told[one]
    assert "they are the same" in refused(path, told)


@pytest.mark.parametrize("cheats", ["KeyTongues", "TwoTongues", "tongues at the end"])
def test_the_proof_that_one_said_two_things_cannot_be_taken_out(path: Path, cheats: str) -> None:
    told = lines(cheats)
    phase = outcome(cheats).ruling.culprits[0].phase
    twice = [place for place in places(told, phase) if told[place]["sender"] == 0]
    assert len(twice) == 2
    refused(path, [line for place, line in enumerate(told) if place not in twice])


def test_nobody_can_be_made_to_have_said_two_things_later(path: Path) -> None:
    """Not even with its own key: what all said afterwards tells that they had heard one."""
    told, known = lines(), outcome().ruling
    head = next(ruling.head for phase, ruling in rulings() if phase == "checks")
    second = say(keys_of(5)[0], known.context, "checks", 0, head, b"second")
    told.insert(places(told, "checks")[0], {
        "phase": "checks", "sender": 0, "body": base64.b64encode(second.body).decode(),
        "signature": base64.b64encode(second.signature).decode(),
    })  # fmt: skip
    assert "is not signed by it" in refused(path, told)


def test_nobody_can_write_a_file_in_which_an_honest_peer_has_cheated(path: Path) -> None:
    """One cheater, alone, with its own key, and a round that went well: it lets that break off in the checks."""
    told, known = lines(), outcome().ruling
    head = next(ruling.head for phase, ruling in rulings() if phase == "checks")
    here = {told[place]["sender"]: told[place] for place in places(told, "checks")}
    body = bytearray(base64.b64decode(here[0]["body"]))
    body[4 * 2 * 2] ^= 1  # a number of the second dealer
    wrong = say(keys_of(5)[0], known.context, "checks", 0, head, bytes(body))
    forged = here[0] | {
        "body": base64.b64encode(wrong.body).decode(), "signature": base64.b64encode(wrong.signature).decode()
    }  # fmt: skip
    begun = told[: places(told, "checks")[0]]
    ends: list[Line] = [{"phase": phase, "end": True} for phase in ("checks", "sums")]
    found = verified(path, [*begun, forged, here[1], here[2], *ends])
    assert found.aborted
    assert not found.culprits


def rulings() -> Iterator[tuple[str, Ruling]]:
    """Yield each phase of an honest round, and what is known before it."""
    known = outcome().ruling
    ruling = Ruling(known.context, known.columns, known.members)
    for (phase, take), (_, board) in zip(ruling.steps(), outcome().boards, strict=True):
        yield phase, ruling
        take(board)


@pytest.mark.parametrize("cheats", ["honest", "Crooked", "FalseComplainer"])
def test_of_what_was_said_last_every_line_stands_for_its_sender_alone(path: Path, cheats: str) -> None:
    """Nothing is signed after it. Who takes out a result's signature takes that away, and nothing else."""
    whole = verified(path, text(cheats))
    told = lines(cheats)
    for place in places(told, "results"):
        peer = told[place]["sender"]
        found = verified(path, [line for other, line in enumerate(told) if other != place])
        assert np.array_equal(found.sum, whole.sum)  # type: ignore[arg-type]
        assert (found.accepted, found.culprits) == (whole.accepted, whole.culprits)
        caught = {culprit.peer for culprit in whole.culprits}
        assert found.silent == dict.fromkeys({peer} - caught, "results") | dict(whole.silent)
        assert found.signed == tuple(other for other in whole.signed if other != peer)


# --- the round


def head_with(change: Callable[[Line], object]) -> list[Line]:
    told = lines()
    change(told[0])
    return told


HEADS: dict[str, Callable[[Line], object]] = {
    "an older protocol": lambda head: head.update(protocol="psreval/secure/0"),
    "no protocol": lambda head: head.update(protocol=None),
    "another run": lambda head: head.update(run="00" * 32),
    "a shorter run": lambda head: head.update(run=head["run"][:-2]),
    "a longer run": lambda head: head.update(run=head["run"] + "00"),
    "a run that is no number": lambda head: head.update(run="no number"),
    "a run that is no text": lambda head: head.update(run=7),
    "the next round": lambda head: head.update(round=2),
    "a round in letters": lambda head: head.update(round="one"),
    "a round before all": lambda head: head.update(round=-1),
    "a round too late": lambda head: head.update(round=1 << 64),
    "a round after all": lambda head: head.update(round=float("inf")),
    "a key twice": lambda head: head["peers"][0].update(key=head["peers"][1]["key"]),
    "no key": lambda head: head["peers"][0].update(key=None),
    "a short key": lambda head: head["peers"][0].update(key="00" * 31),
    "another number": lambda head: head["peers"][0].update(number=5),
    "a number twice": lambda head: head["peers"][0].update(number=1),
    "a negative number": lambda head: head["peers"][0].update(number=-1),
    "no name": lambda head: head["peers"][0].pop("name"),
    "a name twice": lambda head: head["peers"][0].update(name="bert"),
    "exchanged numbers": lambda head: (head["peers"][0].update(number=1), head["peers"][1].update(number=0)),
    "members in another order": lambda head: head.update(members=[0, 1, 2, 4, 3]),
    "a member less": lambda head: head.update(members=[0, 1, 2, 3]),
    "members that are text": lambda head: head.update(members="01234"),
    "a larger update": lambda head: head.update(size=SIZE + 1),
    "a smaller update": lambda head: head.update(size=SIZE - 1),
    "an update of nothing": lambda head: head.update(size=0),
    "an update without end": lambda head: head.update(size=10**18),
    "an update of less": lambda head: head.update(size=-1),
    "no size": lambda head: head.pop("size"),
    "no faults": lambda head: head["layout"].pop("faults"),
    **{
        f"{name} = {value}": lambda head, name=name, value=value: head["layout"].update({name: value})  # type: ignore[misc]
        for name, value in [
            ("peers", 6), ("members", 4), ("coalition", 0), ("coalition", 2), ("faults", 0), ("faults", 2),
            ("faults", -1), ("packing", 0), ("packing", 2), ("repetitions", 1), ("field", 61), ("field", 13),
            ("field", None),
        ]
    },
}  # fmt: skip


def test_the_head_tells_the_round() -> None:
    head = lines()[0]
    assert (head["round"], head["size"], head["members"]) == (1, SIZE, [0, 1, 2, 3, 4])
    assert head["protocol"] == "psreval/secure/2"
    assert head["layout"] == {
        "peers": 5, "members": 5, "coalition": 1, "faults": 1, "packing": 1, "repetitions": 2, "field": 31
    }  # fmt: skip


@pytest.mark.parametrize("keys", [KNOWN, None])
@pytest.mark.parametrize("name", HEADS)
def test_another_round_is_refused(path: Path, name: str, keys: Mapping[str, bytes] | None) -> None:
    refused(path, head_with(HEADS[name]), keys)


@pytest.mark.parametrize("peers", [0, 4])
def test_a_round_of_fewer_peers_is_refused(path: Path, peers: int) -> None:
    """With a sentence that says which file is wrong."""
    refused(path, head_with(lambda head: head.update(peers=head["peers"][:peers], members=list(range(peers)))))


def test_a_round_of_more_peers_is_refused(path: Path) -> None:
    stranger = keys_of(6)[5].public_key().public_bytes_raw().hex()

    def change(head: Line) -> None:
        head["peers"].append({"number": 5, "name": "fred", "key": stranger})
        head["members"].append(5)
        head["layout"].update(peers=6, members=6)

    refused(path, head_with(change), None)


def test_a_shorter_sum_is_refused(path: Path) -> None:
    """Where numbers are packed, as many polynomials may carry fewer of them."""
    layout = packed(9, faults=1, coalition=1, field=SMALL)
    assert layout.packing == 3
    ended = agreed(a_round(layout, updates=votes(9, 9)))
    names = {peer: f"peer {peer}" for peer in range(9)}
    write_transcript(path, ended.ruling, ended.boards, names)
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    told[0]["size"] = 8
    refused(path, told, None)


@pytest.mark.parametrize("sender", [
    -1, 1 << 32, 5, float("inf"), float("nan"), None
])  # fmt: skip
def test_a_sender_that_cannot_be_is_refused(path: Path, sender: object) -> None:
    told = lines()
    told[1]["sender"] = sender
    refused(path, told)


@pytest.mark.parametrize(
    "line",
    [
        None,
        3,
        "x",
        [],
        {},
        {"end": False},
        {"phase": "keys"},
        {"phase": "keys", "sender": 0},
        {"phase": "keys", "sender": None, "body": "", "signature": ""},
        {"phase": "keys", "sender": "one", "body": "", "signature": ""},
        {"phase": "keys", "sender": 7, "body": "", "signature": ""},
        {"phase": "keys", "sender": 0, "body": "?", "signature": ""},
        {"phase": "keys", "sender": 0, "body": "AAA", "signature": ""},
        {"phase": "keys", "sender": 0, "body": 0, "signature": ""},
        {"phase": "keys", "sender": 0, "body": "", "signature": "ä"},
    ],
)
@pytest.mark.parametrize("place", [0, 1, 9, -1])
def test_a_line_that_is_something_else_is_refused(path: Path, line: object, place: int) -> None:
    told: list[Any] = lines()
    told[place] = line
    refused(path, told)


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 30))
def test_garbage_is_refused_or_makes_no_difference(path: Path, garbage: bytes, start: int, over: int) -> None:
    raw = text().encode()
    start %= len(raw)
    path.write_bytes(raw[:start] + garbage + raw[start + over :])
    with suppress(UserError):
        assert same(verify_transcript(path, KNOWN), verified(path, text()))


@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff\xfe", b"null", b"[]", b"{}", b"[" * 50])
def test_what_is_no_transcript_is_refused(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(UserError, match="is not the whole transcript of a round"):
        verify_transcript(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        verify_transcript(tmp_path / "none.jsonl")


# --- whose keys


@pytest.mark.parametrize(
    "keys",
    [
        {},
        KNOWN | {"anna": KNOWN["bert"]},
        KNOWN | {"emil": bytes(32)},
        KNOWN | {"emil": b""},
        {name: key for name, key in KNOWN.items() if name != "dora"},
        {name.upper(): key for name, key in KNOWN.items()},
        KNOWN | {"anna": KNOWN["bert"], "bert": KNOWN["anna"]},
    ],
)
def test_other_keys_than_those_that_are_known_are_refused(path: Path, keys: dict[str, bytes]) -> None:
    told = refused(path, text(), keys)
    assert "is not the one that is known" in told or "is not known, so nobody can tell" in told
    assert verified(path, text(), None).accepted == (0, 1, 2, 3, 4)


def test_another_name_for_a_key_is_refused(path: Path) -> None:
    told = lines()
    told[0]["peers"][0]["name"], told[0]["peers"][1]["name"] = "bert", "anna"
    refused(path, told)


def test_a_key_that_is_known_and_new_signatures_by_another_are_refused(path: Path) -> None:
    """A round that strangers have played among themselves, under the peers' names."""
    strangers = keys_of(12)
    told = lines()
    for peer, line in enumerate(told[0]["peers"]):
        line["key"] = strangers[peer + 6].public_key().public_bytes_raw().hex()
    assert "is not the one that is known" in refused(path, told)
    refused(path, told, None)


def test_a_round_without_some_of_those_that_are_known_is_refused(path: Path) -> None:
    """Else some peers could play it among themselves, and show it as everyone's."""
    four = packed(4, faults=0, coalition=1, field=SMALL)
    ended = agreed(a_round(four, updates=votes(4, SIZE)))
    write_transcript(path, ended.ruling, ended.boards, {peer: NAMES[peer] for peer in range(4)})
    with pytest.raises(UserError):
        verify_transcript(path, KNOWN)


def test_a_round_without_one_that_was_excluded_before_names_it(path: Path) -> None:
    """Its place is empty, and counts as one that is silent; nobody's place can be emptied later."""
    known = outcome().ruling.context
    context = Context(known.run, 2, {peer: key for peer, key in known.keys.items() if peer != 3})
    columns, told, keys = Columns(FIVE, SIZE), SMALL.elements(votes(5, SIZE)), keys_of(5)
    ended = simulate(
        {
            peer: play(peer, keys[peer], context, columns, tuple(range(5)), told[peer], entropy_of(peer))
            for peer in (0, 1, 2, 4)
        }
    )
    write_transcript(path, ended[0].ruling, ended[0].boards, NAMES)
    found = verify_transcript(path, KNOWN)
    assert found.names == NAMES
    assert set(found.keys) == {0, 1, 2, 4}
    assert (found.accepted, set(found.silent), found.culprits) == ((0, 1, 2, 4), {3}, ())
    assert SMALL.signed(found.sum).tolist() == votes(5, SIZE)[[0, 1, 2, 4]].sum(axis=0).tolist()  # type: ignore[arg-type]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0]["peers"][3]["key"] = KNOWN["dora"].hex()
    refused(path, lines)


@pytest.mark.parametrize(("names", "keys"), [(dict.fromkeys(range(5), "anna"), {"anna": KNOWN["anna"]}), (NAMES, None)])
def test_one_peer_cannot_play_all_the_others(path: Path, names: dict[int, str], keys: dict[str, bytes] | None) -> None:
    """With its own key for all of them: under its own name, which is known, or under everyone's."""
    key = keys_of(5)[0]
    context = Context(outcome().ruling.context.run, 1, dict.fromkeys(range(5), key.public_key()))
    columns, told = Columns(FIVE, SIZE), SMALL.elements(votes(5, SIZE))
    ended = simulate(
        {peer: play(peer, key, context, columns, tuple(range(5)), told[peer], entropy_of(peer)) for peer in range(5)}
    )[0]
    write_transcript(path, ended.ruling, ended.boards, names)
    with pytest.raises(UserError, match="two peers have the same name, number or key"):
        verify_transcript(path, keys)


# --- what is not in it


def bodies(cheats: str) -> bytes:
    """Return all that a transcript tells."""
    told = lines(cheats)
    here = places(told, last=True)
    return b"|".join(base64.b64decode(told[place][what]) for place in here for what in ("body", "signature"))


HONEST = [1, 2, 3, 4]


def secrets_of(cheats: str) -> dict[int, dict[str, bytes]]:
    """Return all randomness that each peer asked for in a round, by what it is for."""
    asked: dict[int, dict[str, bytes]] = {}

    def entropy(peer: int) -> Entropy:
        def drawn(purpose: str) -> bytes:
            return asked.setdefault(peer, {}).setdefault(purpose, entropy_of(peer)(purpose))

        return drawn

    columns, known = Columns(FIVE, SIZE), outcome(cheats).ruling
    told = SMALL.elements(votes(5, SIZE))
    ended = simulate({
        peer: play(peer, keys_of(5)[peer], known.context, columns, known.members, told[peer], entropy(peer),
                   CHEATS[cheats].get(peer))
        for peer in range(5)
    })  # fmt: skip
    assert ended[4].boards == outcome(cheats).boards  # the same round
    return asked


def parts_of(dealer: int) -> list[bytes]:
    """Return what an honest dealer gave to each member."""
    secrets = pack(SMALL, SMALL.elements(votes(5, SIZE)[dealer]), FIVE.packing, filler=1)
    deal = Deal(outcome().ruling.context.binding, dealer, Columns(FIVE, SIZE), secrets, entropy_of(dealer))
    return [deal.part(place) for place in range(5)]


@pytest.mark.parametrize("cheats", CHEATS)
def test_no_randomness_of_an_honest_peer_is_told(cheats: str) -> None:
    """But the salt, or the seed, of a part that its member has shown or complained of."""
    asked, told, ruling = secrets_of(cheats), bodies(cheats), outcome(cheats).ruling
    for peer in set(HONEST) - set(CHEATS[cheats]):
        assert {purpose.split()[-1] for purpose in asked[peer]} >= {"key"}
        shown = {str(place) for dealer, place in [*ruling.shown, *ruling.accusations] if dealer == peer}
        for purpose, raw in asked[peer].items():
            if purpose.split()[-1] not in shown or purpose.split()[-2] not in ("salt", "seed"):
                assert raw not in told
                assert raw.hex() not in text(cheats)
        assert keys_of(5)[peer].private_bytes_raw() not in told


@pytest.mark.parametrize("cheats", CHEATS)
def test_nothing_of_an_honest_dealers_update_is_told_but_in_a_sum(cheats: str) -> None:
    """Nor of its masks: but the part of a cheater, which has it anyway, and has to show it or complains of it."""
    told, columns, ruling = bodies(cheats), Columns(FIVE, SIZE), outcome(cheats).ruling
    shown = {*ruling.shown, *ruling.accusations}
    assert all(place in CHEATS[cheats] or dealer in CHEATS[cheats] for dealer, place in shown)
    for dealer in set(HONEST) - set(CHEATS[cheats]):
        for place, part in enumerate(parts_of(dealer)):
            if (dealer, place) in shown:
                assert part in told
                continue
            update, small = part[32 : -columns.small_bytes], part[-columns.small_bytes :]
            masks = small[columns.degree_masks.start * 4 :]
            for secret in (part[:32], update, masks):
                assert not [start for start in range(0, len(secret), 8) if secret[start : start + 8] in told]
        assert SMALL.to_bytes(SMALL.elements(votes(5, SIZE)[dealer])) not in told


def test_of_no_honest_dealer_are_more_parts_told_than_a_coalition_may_know() -> None:
    """Each that cheats can have one part of each dealer shown to all, and a coalition may be as many as may cheat."""
    for cheats in CHEATS:
        ruling = outcome(cheats).ruling
        for dealer in HONEST:
            told = {place for one, place in [*ruling.shown, *ruling.accusations] if one == dealer}
            assert len(told) <= FIVE.coalition


# --- what was asked of updates


@cache
def of_rule(rule: str) -> tuple[Outcome, str]:
    """Return an aggregation of five peers by a rule, and its transcript."""
    rows = np.random.default_rng(5).normal(size=(5, SIZE)) + 1
    reference = np.ones(SIZE) if rule == "fltrust" else None
    ended = agreed_result(
        a_whole_round(
            described(5, rule=rule, **({"norm": 5.0} if rule == "multi-krum" else {})), rows, reference=reference
        )
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "transcript.jsonl"
        write_transcript(path, ended.outcomes[0].ruling, ended.outcomes[0].boards, NAMES)
        return ended.outcomes[0], path.read_text(encoding="utf-8")


BALLS = pytest.mark.parametrize("rule", ["norm-bounded-mean", "multi-krum", "fltrust"])


@BALLS
def test_a_transcript_tells_who_counted_and_how_much(rule: str, path: Path) -> None:
    ended, told = of_rule(rule)
    found = verified(path, told)
    assert found.sum is not None
    assert ended.sum is not None
    assert np.array_equal(found.sum, ended.sum)
    assert found.attested
    assert found.accepted == (0, 1, 2, 3, 4)
    assert found.weights == {peer: ended.ruling.weights.get(peer, 0) for peer in range(5)}
    positive = [weight for weight in found.weights.values() if weight]
    if rule == "fltrust":
        assert len({*positive}) == 5
    else:
        assert positive == [1] * (3 if rule == "multi-krum" else 5)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": "signs"},
        {"numbers": "other"},
        {"bound": 257},
        {"bound": None},
        {"distances": True},
        {"distances": False},
        {"malicious": 1},
        {"malicious": -1},
        {"malicious": "1"},
        {"reference": None},
        {"reference": ""},
        {"reference": base64.b64encode(np.ones(SIZE, "<u8").tobytes()).decode()},
        {"reference": base64.b64encode(np.ones(SIZE + 1, "<u8").tobytes()).decode()},
        {"reference": base64.b64encode(np.full(SIZE, -1, "<i8").tobytes()).decode()},
    ],
)
@BALLS
def test_other_terms_than_those_that_all_agreed_on_are_refused(rule: str, change: Line, path: Path) -> None:
    told = [json.loads(line) for line in of_rule(rule)[1].splitlines()]
    before = dict(told[0]["terms"])
    told[0]["terms"] |= change
    if told[0]["terms"] == before:
        assert verified(path, told).attested
    else:
        refused(path, told)


@pytest.mark.parametrize("missing", ["numbers", "bound", "reference", "distances", "malicious"])
def test_terms_of_which_something_is_missing_are_refused(missing: str, path: Path) -> None:
    told = [json.loads(line) for line in of_rule("multi-krum")[1].splitlines()]
    del told[0]["terms"][missing]
    refused(path, told)
