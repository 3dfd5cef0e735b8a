"""A real peer from joining to its end, where it is alone; whole runs are in tests/integration/peers."""

import threading
from pathlib import Path

import pytest

from common.errors import UserError
from experiments.secure_node import open_secure_node
from experiments.secure_peer import run_secure_peer
from tests.experiments.secure_peers_fixture import secure_peers


def quiet(_: str) -> None:
    """Say nothing."""


def test_a_peer_that_is_alone_ends_with_a_sentence_and_its_round_is_over_for_good(tmp_path: Path) -> None:
    """Nobody ever answers: the round is aborted, and the run ends, since no round may be skipped."""
    file, said = secure_peers(tmp_path)["a"], list[str]()
    with pytest.raises(UserError, match="1 rounds in a row had no result, the last: b, c, d, e were silent"):
        run_secure_peer(file, report=said.append)
    assert any("b silent: it said nothing in the phase 'keys'" in line for line in said)
    with open_secure_node(file) as node:
        assert (node.state.round, node.state.begun) == (1, 1)
        assert set(node.state.doubted) == {"b", "c", "d", "e"}


def test_a_peer_that_is_to_end_early_ends(tmp_path: Path) -> None:
    over, said = threading.Event(), list[str]()
    over.set()
    assert run_secure_peer(secure_peers(tmp_path)["a"], report=said.append, over=over) is None
    assert said[-1] == "a: ended early"


def test_anothers_certificates_are_a_mistake(tmp_path: Path) -> None:
    files = secure_peers(tmp_path)
    text = files["a"].read_text()
    files["a"].write_text(text.replace("[peer]\n", f'[peer]\ncertificates = "{files["b"].parent}"\n'))
    with pytest.raises(UserError, match="belongs to 'b', not to 'a'"):
        run_secure_peer(files["a"], report=quiet)


def test_an_agreement_without_a_run_is_a_mistake(tmp_path: Path) -> None:
    file = secure_peers(tmp_path)["a"]
    agreement = file.parent / "agreement.toml"
    lines = [line for line in agreement.read_text().splitlines() if not line.startswith("run = ")]
    agreement.write_text("\n".join(lines))
    with pytest.raises(UserError, match="there is no `run`"):
        run_secure_peer(file, report=quiet)
