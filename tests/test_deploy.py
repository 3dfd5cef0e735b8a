"""What is said about deployment and shipped for it agrees with the code; `make test-docker` does the rest."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

from clients.hospital import Hospital, load_hospital
from common.config import load, parse
from experiments.cli import app
from experiments.peer_file import PeerFile, load_peer
from experiments.peer_split import own_tree

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PEERS_PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
NODES = ("hospital-a", "hospital-b", "hospital-c")
PEERS = ("peer-a", "peer-b", "peer-c", "peer-d")
PREPARING = ("prepare", "prepare-peers")


def commands(program: str, page: str = PAGE) -> list[list[str]]:
    """Return the commands of a page's shell blocks that begin with a program, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [found for found in words if found and found[0] == program]


def check_psreval(words: list[str]) -> None:
    """Fail if the command line has no such command or option."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    if isinstance(command, click.Group):
        command, words = command.commands[words[1]], words[1:]
    command.make_context(words[0], words[1:])  # parses, runs nothing


@pytest.mark.parametrize("words", commands("psreval") + commands("psreval", PEERS_PAGE), ids=" ".join)
def test_every_psreval_command_of_the_page_can_be_typed(words: list[str]) -> None:
    check_psreval(words[1:])


def test_what_the_page_runs_in_containers_can_be_typed_too() -> None:
    started = [words for words in commands("docker") if words[1] == "run"]
    assert len(started) == 2
    for words in started:
        check_psreval(words[words.index("psreval") + 1 :])


def test_flowers_own_processes_take_what_the_page_gives_them() -> None:
    (words,) = commands("flower-supernode")
    given = _parse_args_run_supernode().parse_args(words[1:])
    assert given.node_config == 'hospital="/absolute/north/hospital.toml"'
    (words,) = commands("flower-superlink")
    assert _parse_args_run_superlink().parse_args(words[1:]).enable_supernode_auth


def test_the_pages_files_are_valid() -> None:
    description, hospital = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    names = [client.name for client in parse(tomllib.loads(description), "the page").roster()]
    assert Hospital.model_validate(tomllib.loads(hospital)).name in names


def test_the_files_of_the_peers_page_are_valid() -> None:
    told, file = re.findall(r"```toml\n(.*?)```", PEERS_PAGE, re.DOTALL)
    described = parse(tomllib.loads(told), "the page")
    peer = PeerFile.model_validate(tomllib.loads(file))
    peer.check_fits(tuple(str(client.name) for client in described.roster()))
    assert described.protocol == "braintorrent"


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_of_compose_does_what_the_description_says_of_it(name: str) -> None:
    """Only then can the models of the containers equal those of one process."""
    experiment = load(ROOT / "experiments" / "compose-peers.toml")
    names = [str(client.name) for client in experiment.roster()]
    assert tuple(names) == PEERS
    ours, number = load_peer(ROOT / "deploy" / f"{name}.toml"), names.index(name)
    expected = own_tree(experiment, experiment.roster()[number], number, data=ours.data)
    told = json.loads(ours.model_dump_json(exclude_none=True))
    for tree in (expected, told):
        if not tree["privacy"]["enabled"]:  # then its other settings mean nothing
            del tree["privacy"]
    assert {**told, "state": "", "peer": {}} == {**expected, "state": "", "peer": {}}
    assert ours.data.source == "npz:/party/records.npz"
    assert (ours.peer.listen, ours.peer.certificates, ours.peer.agreement) == (
        "0.0.0.0:9000",
        Path("/party"),
        Path("/party/agreement.toml"),
    )
    assert ours.peer.addresses == {other: f"{other}:9000" for other in PEERS if other != name}
    assert (ours.peer.evaluation is not None) == (name == PEERS[0])  # as `peers prepare` without --evaluate


def test_each_profile_starts_one_federation_and_the_one_with_a_server_is_the_default() -> None:
    profiles = {name: service["profiles"] for name, service in COMPOSE["services"].items()}
    assert {name for name, held in profiles.items() if held == ["server"]} == {"prepare", "server", *NODES}
    assert {name for name, held in profiles.items() if held == ["peers"]} == {"prepare-peers", *PEERS}
    settings = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    assert [line for line in settings if not line.startswith("#")] == ["COMPOSE_PROFILES=server"]


@pytest.mark.parametrize("name", NODES)
def test_a_hospital_of_compose_does_what_the_description_says_of_it(name: str) -> None:
    """Only then can the model of the containers equal that of one process."""
    experiment = load(ROOT / "experiments" / "compose.toml")
    (client,) = [client for client in experiment.roster() if client.name == name]
    ours = load_hospital(ROOT / "deploy" / f"{name}.toml")
    expected = Hospital.of(experiment, client, data=ours.data, state=ours.state)
    if not expected.privacy.enabled:  # then its other settings mean nothing
        assert not ours.privacy.enabled
        expected = expected.model_copy(update={"privacy": ours.privacy})
    assert ours == expected
    assert ours.data.source == "npz:/party/records.npz"
    assert experiment.name == "compose"
    assert len(experiment.roster()) == len(NODES)


def test_compose_commands_can_be_typed() -> None:
    for service in ("server", *NODES):
        check_psreval(COMPOSE["services"][service]["command"])
    for peer in PEERS:
        check_psreval(COMPOSE["services"][peer]["command"])
    check_psreval(["certificates", "keys", *COMPOSE["services"]["prepare"]["command"]])
    assert COMPOSE["services"]["prepare-peers"]["command"] == ["peers", *PEERS]  # of deploy/prepare.sh


def test_compose_publishes_nothing_and_gives_each_party_volumes_of_its_own() -> None:
    assert "version" not in COMPOSE  # today's Compose warns about it
    services = COMPOSE["services"]
    assert not any("ports" in service for service in services.values())
    held = {
        name: {volume.split(":")[0] for volume in services[name]["volumes"] if not volume.startswith("./")}
        for name in ("server", *NODES, *PEERS)
    }
    everything = [volume for volumes in held.values() for volume in volumes]
    assert len(everything) == len(set(everything))
    authorities = {"authority", "peers-authority"}
    assert not authorities & set(everything)
    assert set(everything) | authorities == set(COMPOSE["volumes"])
    for name in PREPARING:
        prepared = {volume for volume in services[name]["volumes"] if not volume.startswith("./")}
        assert all(volume.split(":")[1].startswith("/prepared/") for volume in prepared)


def test_only_prepare_is_root_and_only_to_give_folders_away() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert (service["user"] == "0:0") == (name in PREPARING)
        assert service.get("cap_add", []) == (["CHOWN", "SETUID", "SETGID"] if name in PREPARING else [])
    for name in PREPARING:
        assert COMPOSE["services"][name]["network_mode"] == "none"


def test_the_script_that_prepares_knows_both_kinds_of_federation(tmp_path: Path) -> None:
    """Its last part alone, with a shell function in place of psreval and of changing the user."""
    script = (ROOT / "deploy" / "prepare.sh").read_text(encoding="utf-8")
    last = 'set -eu\nas_user() { echo "$@"; }\n' + script[script.index("told() {") :]

    def typed(*words: str) -> list[str]:
        run = subprocess.run(["sh", "-c", last, "prepare", *words], capture_output=True, text=True, check=True)
        return run.stdout.splitlines()

    for line in typed("peers", "peer-a", "peer-b") + typed("--server", "server", "--node", "hospital-a"):
        check_psreval(shlex.split(line)[1:])
    prepared, certified = typed("peers", "peer-a", "peer-b")
    assert prepared.endswith("--out /prepared --address peer-a=peer-a:9000 --address peer-b=peer-b:9000")
    assert certified == "psreval peers certificates /prepared --peer peer-a --peer peer-b"


def test_the_image_installs_every_dependency_but_ray(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"__file__": str(ROOT / "deploy" / "requirements.py"), "__name__": "requirements"}
    exec(compile((ROOT / "deploy" / "requirements.py").read_text(), "requirements.py", "exec"), scope)
    scope["main"]()
    printed = capsys.readouterr().out.splitlines()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = [entry.replace("flwr[simulation]", "flwr") for entry in declared if not entry.startswith("ray")]
    assert printed == ours
    assert len(printed) == len(declared) - 1
