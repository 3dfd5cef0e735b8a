"""Real peers of the secure protocol: right results whatever a few of them do, with transcripts that anyone verifies."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.config import Experiment
from common.data import prepare
from common.exchange import arrays_of
from common.folder import RunFolder, read_json, read_lines
from experiments.peer_node import initial
from experiments.peer_processes import free_addresses
from experiments.run import train
from peers.agreement import Images
from peers.secure.keys import read_trusted_keys
from peers.secure.transcript import verify_transcript
from tests.integration.faults.processes_fixture import site
from tests.integration.peers.known_votes import votes
from tests.integration.peers.secure_fixture import STEP, die_in, secure_site, tiny_secure
from tests.integration.peers.test_whole import typed

NINE = ("a", "b", "c", "d", "e", "f", "g", "liar", "forked")


def by_hand(experiment: Experiment, images: Images, accepted: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """The weights after rounds in which these peers' votes counted, by nothing but addition."""
    names = [str(client.name) for client in experiment.roster()]
    arrays = arrays_of(initial(experiment, images))
    for round_, counted in enumerate(accepted, start=1):
        for name, array in arrays.items():
            if counted and array.is_floating_point():
                total = sum(votes(names.index(peer), round_, name, array.numel()) for peer in counted)
                step = torch.from_numpy(STEP * np.asarray(total) / len(counted)).reshape(array.shape)
                arrays[name] = (array.double() + step).to(array.dtype)
    return arrays


@pytest.mark.processes
def test_one_lies_one_says_two_things_one_is_killed_and_the_result_is_right(tmp_path: Path) -> None:
    """Nine peers withstand 2 · liars + silent ≤ 4.

    Both cheaters are caught in the first round, which has nobody silent: 2 · 2 ≤ 4. From then on each counts half, so
    that the kill in the second round, one silent more, makes 3 ≤ 4. It comes in the middle, after the dealing: what the
    killed peer dealt still counts, and the end of the round comes without it.
    """
    experiment = tiny_secure(NINE, clients__7__misbehaviour={"kind": "wrong-sum"},
                             clients__8__misbehaviour={"kind": "equivocation"})  # fmt: skip
    honest = NINE[:7]
    with secure_site(tmp_path / "site", experiment) as here:
        wait = {"peer__exchange_timeout": 5.0}
        peers = {name: here.peer(name, **wait) for name in NINE if name != "g"}
        doomed = here.peer("g", called=[(die_in, ("checks", 2))], **wait)
        assert doomed.ended() == -9
        peers["g"] = here.peer("g", log="again")
        here.finished(peers)

        assert "round 2 had begun before this peer was started again; it sits it out" in peers["g"].said()
        assert "took over what came of round 2" in peers["g"].said()
        states = {name: here.kept(name) for name in honest}
        counted = [[*honest, "liar"], honest, honest]  # who lies of the sum has dealt well
        expected = by_hand(experiment, here.images, counted)
        for name, state in states.items():
            assert state is not None
            assert state.round == 3, name
            for weight, array in state.arrays.items():
                assert torch.equal(array, expected[weight]), (name, weight)
            assert {one: about["reason"] for one, about in state.excluded.items()} == {
                "liar": "it gave a wrong share of the sum (round 1, fingerprints)",
                "forked": "it said different things to different peers (round 1, checks)",
            }
        trusted = read_trusted_keys(here.keys)
        for name in honest[:6]:
            first, second, third = (verify_transcript(here.transcript(name, number), trusted) for number in (1, 2, 3))
            assert {first.names[one.peer] for one in first.culprits} == {"liar", "forked"}
            assert [second.names[peer] for peer in second.accepted] == list(honest)
            assert second.silent[6] == "checks"
            assert 6 not in third.silent  # it is back
            assert [len(one.signed) for one in (first, second, third)] == [8, 6, 7]  # the first without the forked one
        assert "Traceback" not in "".join(program.said() for program in peers.values())
        secrets = [line for file in here.keys.rglob("*.key") for line in file.read_text().splitlines()[1:-1]]
        assert not any(line in program.said() for line in secrets for program in peers.values())


@pytest.mark.processes
def test_after_a_power_cut_all_go_on_without_the_round_that_it_cut_short(tmp_path: Path) -> None:
    """Nobody says two things in one round, also where nobody is left who has ended it; and nobody waits for long."""
    names = ("a", "b", "c", "d", "e")
    experiment = tiny_secure(names)
    with secure_site(tmp_path / "site", experiment) as here:
        doomed = {name: here.peer(name, called=[(die_in, ("checks", 2))], peer__exchange_timeout=5.0) for name in names}
        assert {program.ended() for program in doomed.values()} == {-9}
        peers = {name: here.peer(name, log=f"{name}-again") for name in names}
        here.finished(peers)
        expected = by_hand(experiment, here.images, [names, [], names])
        for name in names:
            state = here.kept(name)
            assert state is not None
            assert [line["status"] for line in state.lines] == ["aggregated", "missed", "aggregated"]
            assert state.excluded == {}  # nobody has said two things
            assert all(torch.equal(array, expected[weight]) for weight, array in state.arrays.items()), name


@pytest.mark.processes
def test_a_peer_that_lost_its_state_in_the_middle_of_a_round_does_not_speak_in_it_again(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d", "e")
    experiment = tiny_secure(names)
    with secure_site(tmp_path / "site", experiment) as here:
        peers = {name: here.peer(name, peer__exchange_timeout=10.0) for name in names[:4]}
        doomed = here.peer("e", called=[(die_in, ("checks", 2))])
        assert doomed.ended() == -9
        shutil.rmtree(here.folder / "e" / "state")
        peers["e"] = here.peer("e", log="again")
        here.finished(peers)
        assert "took over what came of round 1" in peers["e"].said()
        assert "round 2 had begun before this peer was started again; it sits it out" in peers["e"].said()
        expected = by_hand(experiment, here.images, [names] * 3)  # it had dealt in round 2
        for name in names:
            state = here.kept(name)
            assert state is not None
            assert state.excluded == {}
            assert all(torch.equal(array, expected[weight]) for weight, array in state.arrays.items()), name


@pytest.mark.processes
def test_prepare_certificates_and_peers_come_to_a_report(tmp_path: Path) -> None:
    """What docs/secure.md says of real peers, typed; one of them trains privately, another cheats."""
    names = ("north", "south", "east", "west", "liar")
    changes = {"threats": ["white-box"], "attacks": ["fgsm"], "records": 6, "stress_records": 6}
    experiment = tiny_secure(
        names, federation__rounds=2, **{f"evaluation__{key}": value for key, value in changes.items()}
    )
    plain = {"clients.0.strategy": "honest", "clients.0.private": True, "privacy.accountant": "rdp",
             "privacy.delta": 1e-3, "clients.4.misbehaviour": {"kind": "wrong-sum"}}  # fmt: skip
    with site(tmp_path / "site", experiment.change(plain)) as here:
        parties = here.folder / "parties"
        given = [f"--address={name}={address}" for name, address in zip(names, free_addresses(5), strict=True)]
        description = str(here.folder / "experiment.toml")
        typed(here, "prepare", "peers", "prepare", description, "--out", str(parties), *given, "--evaluate", "west")
        typed(here, "prepare", "peers", "prepare", description, "--out", str(parties), *given, "--evaluate", "west")
        typed(here, "keys", "peers", "certificates", str(parties), *(f"--peer={name}" for name in names))
        peers = {name: here.start(name, ["peer", "--config", str(parties / name / "peer.toml")]) for name in names}
        for program in peers.values():
            assert program.ended() == 0, program.said()
        (place,) = (parties / "west" / "runs").glob("secure/*")
        folder = RunFolder(place)
        first, second = ({one["name"]: one for one in line["clients"]} for line in read_lines(folder.rounds))
        assert first["liar"]["strike"]
        assert first["liar"]["status"] == "accepted"  # what it dealt was allowed, and is in the sum
        assert second["liar"]["status"] == "excluded"
        assert all(line["north"]["examples"] == 12 and line["north"]["bytes_up"] > 0 for line in (first, second))
        clients = {one["name"]: one for one in read_json(folder.ledger)["clients"]}
        assert clients["north"]["epsilon"] > 0
        assert clients["north"]["honest"]
        assert not clients["liar"]["honest"]
        assert folder.report.exists()
        said = typed(here, "verify", "verify-transcript", str(folder.transcripts / "round-2.jsonl"),
                     "--keys", str(parties))  # fmt: skip
        assert "every signature is that of its peer's key" in said
        (parties / "west" / "signing.pub").write_bytes((parties / "east" / "signing.pub").read_bytes())
        wrong = here.start("wrong", ["verify-transcript", str(folder.transcripts / "round-2.jsonl"),
                                     "--keys", str(parties)])  # fmt: skip
        assert wrong.ended() == 2
        assert "the key of 'west' is not the one that is known" in wrong.said()
        # Once more: nothing is played or evaluated again, and nobody needs to be there.
        again = here.start("again", ["peer", "--config", str(parties / "west" / "peer.toml")])
        assert again.ended() == 0, again.said()
        assert "round 1 of 2" not in again.said()


@pytest.mark.processes
def test_the_processes_runner_leaves_the_folder_of_a_run_in_process(tmp_path: Path) -> None:
    experiment = tiny_secure(("a", "b", "c", "d", "liar"), clients__4__misbehaviour={"kind": "wrong-checks"})
    dataset = prepare(experiment.data)
    one = train(experiment, dataset, tmp_path / "one", "inprocess")
    many = train(experiment, dataset, tmp_path / "many", "processes")
    assert many.model.read_bytes() == one.model.read_bytes()  # the votes leave nothing to chance
    assert read_json(many.ledger) == read_json(one.ledger)
    expected, found = list(read_lines(one.rounds)), list(read_lines(many.rounds))
    for line in (*expected, *found):
        line.pop("seconds")
    assert found == expected
    files = sorted(file.name for file in one.transcripts.iterdir())
    assert sorted(file.name for file in many.transcripts.iterdir()) == files
    for name in files:
        mine, theirs = (verify_transcript(folder.transcripts / name) for folder in (one, many))
        assert (mine.accepted, mine.culprits) == (theirs.accepted, theirs.culprits)
        assert np.array_equal(mine.sum, theirs.sum)
        assert verify_transcript(many.transcripts / name, read_trusted_keys(many.path / "keys")).attested
    assert not list(many.path.glob("keys/**/*.key"))
    assert not list(many.peers.glob("**/signing.key"))
