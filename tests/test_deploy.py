"""What is said about deployment and shipped for it agrees with the code; `make test-docker` does the rest."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

from clients.hospital import Hospital, load_hospital
from common.config import load, parse
from experiments.cli import app

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
NODES = ("hospital-a", "hospital-b", "hospital-c")


def commands(program: str) -> list[list[str]]:
    """Return the commands of the page's shell blocks that begin with a program, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [found for found in words if found and found[0] == program]


def check_psreval(words: list[str]) -> None:
    """Fail if the command line has no such command or option."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])  # parses, runs nothing


@pytest.mark.parametrize("words", commands("psreval"), ids=" ".join)
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
    check_psreval(["certificates", "keys", *COMPOSE["services"]["prepare"]["command"]])


def test_compose_publishes_nothing_and_gives_each_hospital_volumes_of_its_own() -> None:
    assert "version" not in COMPOSE  # today's Compose warns about it
    services = COMPOSE["services"]
    assert not any("ports" in service for service in services.values())
    held = {
        name: {volume.split(":")[0] for volume in services[name]["volumes"] if not volume.startswith("./")}
        for name in ("server", *NODES)
    }
    everything = [volume for volumes in held.values() for volume in volumes]
    assert len(everything) == len(set(everything))
    assert "authority" not in everything
    assert set(everything) | {"authority"} == set(COMPOSE["volumes"])


def test_only_prepare_is_root_and_only_to_give_folders_away() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert (service["user"] == "0:0") == (name == "prepare")
        assert service.get("cap_add", []) == (["CHOWN", "SETUID", "SETGID"] if name == "prepare" else [])
    assert COMPOSE["services"]["prepare"]["network_mode"] == "none"


def test_the_image_installs_every_dependency_but_ray(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"__file__": str(ROOT / "deploy" / "requirements.py"), "__name__": "requirements"}
    exec(compile((ROOT / "deploy" / "requirements.py").read_text(), "requirements.py", "exec"), scope)
    scope["main"]()
    printed = capsys.readouterr().out.splitlines()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = [entry.replace("flwr[simulation]", "flwr") for entry in declared if not entry.startswith("ray")]
    assert printed == ours
    assert len(printed) == len(declared) - 1
