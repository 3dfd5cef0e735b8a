"""One real peer from its file: what it needs before it takes part."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.config import parse
from common.data import prepare
from common.errors import UserError
from common.exchange import arrays_of
from experiments import secure_node
from experiments.peer_file import AgreementFile
from experiments.secure_node import check_real, open_secure_node, run_of, secure_agreement
from peers.agreement import Images
from peers.peer import STATE
from peers.secure.mailbox import NOT_YET, Wanted
from peers.secure.plan import layout_of
from peers.secure.standing import weights, where
from peers.wire import RefusedError
from server.federation import initial_model
from tests.experiments.secure_peers_fixture import DESCRIBED, secure_peers


def test_a_peer_begins_with_the_weights_of_a_simulation(tmp_path: Path) -> None:
    expected = arrays_of(initial_model(DESCRIBED, prepare(DESCRIBED.data)))
    with open_secure_node(secure_peers(tmp_path)["a"]) as node:
        assert (node.name, node.number, node.faults, node.others) == ("a", 0, 1, ["b", "c", "d", "e"])
        assert len(node.learner.place.holding) == 12
        assert (node.state.round, node.state.begun) == (0, 0)
        assert all(torch.equal(array, expected[name]) for name, array in node.state.arrays.items())


def test_all_name_the_same_run_and_other_keys_or_letters_name_another(tmp_path: Path) -> None:
    runs, others = set(), set()
    for file in secure_peers(tmp_path).values():
        with open_secure_node(file) as node:
            runs.add(run_of(node.parts))
            keys = {one: key.public_bytes_raw() for one, key in node.keys.public.items()}
            public = node.learner.place.holding.dataset.public
            others.add(run_of(secure_agreement(node.agreed, keys | {"b": bytes(32)}, public)))
            others.add(run_of(secure_agreement(node.agreed.model_copy(update={"run": "another"}), keys, public)))
    assert len(runs) == 1
    assert len(others) == 2
    assert runs.isdisjoint(others)


def test_a_state_is_kept_and_found_again(tmp_path: Path) -> None:
    file = secure_peers(tmp_path)["a"]
    with open_secure_node(file) as node:
        node.keep(replace(node.state, begun=1))
        assert (node.home / STATE).exists()
    with open_secure_node(file) as node:
        assert node.state.begun == 1


def test_it_answers_what_peers_ask_and_nothing_else(tmp_path: Path) -> None:
    with open_secure_node(secure_peers(tmp_path)["a"]) as node:
        assert next(node.mailbox.letters("b", Wanted(bytes.fromhex(node.state.run), 1, 0).encode())) == NOT_YET
        node.out, node.heard[1] = 3, 2
        assert b'"heard": 2' in node.answer("b", where(node.state.run))
        assert b'"heard": 0' in node.answer("c", where(node.state.run))
        assert b'"out": 3' in node.answer("c", where(node.state.run))
        for question in (b"", b"{}", b"weights", where("00" * 32)):
            with pytest.raises(RefusedError):
                node.answer("b", question)


def test_weights_are_given_for_two_rounds_and_who_is_excluded_is_no_other_any_more(tmp_path: Path) -> None:
    with open_secure_node(secure_peers(tmp_path)["a"]) as node:
        start, run = node.state, node.state.run
        given = {0: node.answer("b", weights(run, 0))}
        for number in (1, 2):
            arrays = {name: array + 1 for name, array in node.state.arrays.items()}
            node.keep(replace(node.state, begun=number))
            node.keep(replace(node.state, round=number, arrays=arrays))
            given[number] = node.answer("b", weights(run, number))
            assert node.answer("b", weights(run, number - 1)) == given[number - 1]
        with pytest.raises(RefusedError):
            node.answer("b", weights(run, 0))
        assert len(set(given.values())) == 3
        assert node.quorum == 2
        node.keep(replace(start, excluded={"d": {"round": 1, "reason": "it lied"}}))
        assert node.others == ["b", "c", "e"]


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [("signing.key", "put the key back from a copy"), ("peers/c.pub", "`psreval peers certificates` makes what is")],
)
def test_a_missing_key_is_told(tmp_path: Path, missing: str, remedy: str) -> None:
    file = secure_peers(tmp_path)["a"]
    (file.parent / missing).unlink()
    with pytest.raises(UserError, match=remedy), open_secure_node(file):
        pass


def test_where_the_rule_looks_at_public_records_all_must_have_the_same() -> None:
    public = prepare(DESCRIBED.data).public
    other = replace(public, labels=(public.labels + 1) % 3)
    images = Images.of(prepare(DESCRIBED.data))
    for rule, equal in (("rsa", True), ("fltrust", False)):
        agreed = AgreementFile(experiment=DESCRIBED.change({"secure.rule": rule}), images=images, run="one")
        assert (secure_agreement(agreed, {}, public) == secure_agreement(agreed, {}, other)) is equal
    with pytest.raises(UserError, match=r"secure\.rule = 'fltrust' compares updates with that of the public records"):
        secure_agreement(agreed, {}, replace(public, images=public.images[:0], labels=public.labels[:0]))


@pytest.mark.parametrize(("peers", "faults", "most"), [(9, 2, 2), (13, 3, 3)])
def test_committees_of_so_many_cheaters_that_nobody_could_tell_who_is_late_are_refused(
    peers: int, faults: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = parse({"protocol": "secure", "clients": [{"count": peers}], "secure": {"faults": faults}}, "here")
    check_real(experiment)
    many = replace(layout_of(experiment), faults=faults + 1)
    monkeypatch.setattr(secure_node, "layout_of", lambda told: many)
    with pytest.raises(UserError, match=rf"secure.faults = {faults + 1} among {peers} real peers.*take at most {most}"):
        check_real(experiment)
