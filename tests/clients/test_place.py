"""Who a node is: a hospital by its own file whatever the server says, or a simulated client where that can be true."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.app import app
from clients.asked import asked
from clients.hospital import Hospital, load_hospital, write_hospital
from clients.place import own_experiment, place_of
from common.config import Experiment
from common.description import AdversarialTraining, Client, Compression, Evaluation, Federation, Thresholds
from common.errors import UserError
from experiments.inprocess import InProcessGrid
from tests.clients.client_fixture import PRIVATE, TINY, ask, hospitals, join, own_log, refusal, simulated, tiny
from tests.clients.client_fixture import request as request_of

LOUD = PRIVATE | {"privacy__noise_multiplier": 0.5}
"""Noise that is given, and spends far more than the description's ε, which is then not asked for."""
NET = """
import torch

def build(channels, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 28 * 28, classes))
"""


def file_of(folder: Path, made: Experiment, number: int, **changes: Any) -> Path:
    """A hospital file that says what the description says of this client."""
    share = (number, len(made.roster()))
    hospital = Hospital.of(made, made.roster()[number], share=share, state=folder / "state")
    write_hospital(folder / "hospital.toml", hospital.model_copy(update=changes))
    return folder / "hospital.toml"


def weights(reply: RecordDict) -> dict[str, bytes]:
    return {name: array.data for name, array in reply["arrays"].items()}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("changes", [{}, PRIVATE, LOUD])
def test_a_hospital_does_bit_for_bit_what_the_simulated_client_does(
    tmp_path: Path, number: int, changes: dict[str, Any]
) -> None:
    made = tiny(**changes)
    theirs = join(simulated(), made, [1, 2], node=number + 1)
    ours = join(hospitals(file_of(tmp_path, made, number)), made, [1, 2])
    assert dict(ours[0]["client"]) == dict(theirs[0]["client"])
    for our, their in zip(ours[1:], theirs[1:], strict=True):
        assert weights(our) == weights(their)
        assert dict(our["metrics"]) == dict(their["metrics"])
        assert dict(our["client"]) == dict(their["client"])


SAID_OF_CLIENTS = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["honest", "label-flipper", "update-poisoner", "/etc/server.py:Evil"]),
        "private": st.booleans(),
        "adversarial_training": st.just({"attack": "/etc/server.py:attack"}),
    },
)
SAID_ELSEWHERE = st.fixed_dictionaries(
    {},
    optional={
        "privacy": st.fixed_dictionaries(
            {},
            optional={
                "enabled": st.booleans(),
                "epsilon": st.floats(0.1, 1e6),
                "delta": st.floats(1e-9, 0.5),
                "noise_multiplier": st.floats(0.01, 10),
                "clip_norm": st.floats(0.1, 1e6),
                "secure_noise": st.booleans(),
                "accountant": st.sampled_from(["prv", "rdp"]),
            },
        ),
        "evaluation": st.fixed_dictionaries({"attacks": st.just(["/etc/server.py:attack"])}),
        "federation": st.fixed_dictionaries({"aggregation": st.sampled_from(["fedavg", "/etc/server.py:Rule"])}),
        "compression": st.fixed_dictionaries({"calibration_records": st.integers(8, 100)}),
        "thresholds": st.fixed_dictionaries({"epsilon": st.floats(0.1, 100)}),
        "description": st.text(max_size=20),
    },
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the private hospital a sends in round 1, when the server's description says nothing of privacy or data."""
    folder = tmp_path_factory.mktemp("hospital")
    made = tiny()
    return weights(join(hospitals(private_hospital(folder)), made, [1])[-1])


def private_hospital(folder: Path) -> Path:
    return file_of(folder, tiny(**PRIVATE, clients=[{"name": "a"}, {"name": "b"}]), 0)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clients=st.tuples(SAID_OF_CLIENTS, SAID_OF_CLIENTS), elsewhere=SAID_ELSEWHERE)
def test_whatever_the_server_says_of_clients_or_privacy_a_hospital_does_the_same(
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    clients: tuple[dict[str, Any], dict[str, Any]],
    elsewhere: dict[str, Any],
) -> None:
    said = [{"name": name, **told} for name, told in zip("ab", clients, strict=True)]
    tree = {**TINY, "clients": said, **elsewhere}
    tree["data"] = {**TINY["data"], "source": "npz:/etc/passwd.npz", "path": "/etc", "partition": [1, 9]}
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    introduced, trained = join(hospitals(private_hospital(folder)), Experiment.model_validate(tree), [1])
    assert introduced["client"]["private"] is True
    assert introduced["client"]["strategy"] == "honest"
    assert weights(trained) == undisturbed


def test_nothing_of_the_server_s_is_left_in_what_a_hospital_carries_out(tmp_path: Path) -> None:
    told = Experiment(
        data={"source": "npz:/etc/secret.npz", "path": "/etc"},
        clients=(
            Client(name="a", strategy="/etc/x.py:A", adversarial_training=AdversarialTraining(attack="/etc/x.py:b")),
            Client(name="b", strategy="/etc/x.py:B", options={"attack": "/etc/x.py:c"}, private=True),
        ),
        federation=Federation(aggregation="/etc/x.py:Rule", aggregation_options={"file": "/etc/x.py:y"}, rounds=7),
        evaluation=Evaluation(attacks=("/etc/x.py:attack",)),
    )
    hospital = load_hospital(file_of(tmp_path, tiny(**PRIVATE), 0))
    own = own_experiment(told, hospital)
    assert "/etc" not in own.model_dump_json()
    assert own.clients[0] == hospital.client()
    assert (own.data, own.privacy, own.federation.rounds) == (hospital.data, hospital.privacy, 7)
    assert (own.training, own.seed) == (told.training, told.seed)
    assert (own.compression, own.evaluation, own.thresholds) == (Compression(), Evaluation(), Thresholds())


def test_a_model_s_file_is_run_only_if_the_hospital_allows_it_and_then_its_own(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "net.py").write_text("raise RuntimeError('the server ran code here')")
    (tmp_path / "net.py").write_text(NET)
    made = tiny(model__name=f"{tmp_path}/server/net.py:build")
    forbidden = hospitals(file_of(tmp_path / "forbidden", made, 0, code=()))
    assert "runs no file that a server names" in refusal(ask(forbidden, made, "query", round_number=0))
    assert "runs no file that a server names" in refusal(ask(forbidden, made, "train"))
    allowed = file_of(tmp_path / "allowed", made, 0, code=(f"{tmp_path}/net.py:build",))
    assert ask(hospitals(allowed), made, "query", round_number=0)["client"]["name"] == "a"
    other = tiny(model__name=f"{tmp_path}/server/net.py:other")
    assert "runs no file" in refusal(ask(hospitals(allowed), other, "query", round_number=0))


def test_an_allowed_file_that_is_not_there_is_the_hospital_s_own_affair(tmp_path: Path) -> None:
    made = tiny(model__name="/srv/net.py:build")
    grid = hospitals(file_of(tmp_path, made, 0, code=(f"{tmp_path}/private/net.py:build",)))
    sentence = refusal(ask(grid, made, "query", round_number=0))
    assert sentence == "a: its copy of model.name = 'net.py:build' cannot be used; its own log says why"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "c"}, "c: the server's description has no client of that name, only a, b"),
        ({"strategy": "/home/me/secret.py:Mine"}, "a: its strategy cannot be used; its own log says why"),
        ({"strategy": "label-flipper", "options": {"labels": "target:9"}}, "a: its strategy fails in rehearsal"),
        ({"data": {"source": "npz:/home/me/secret.npz"}}, "a: its data cannot be used; its own log says why"),
    ],
)
def test_a_hospital_s_own_mistakes_are_told_to_itself(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    made = tiny()
    if "data" in changes:
        changes = {"data": made.data.model_copy(update=changes["data"])}
    sentence = refusal(ask(hospitals(file_of(tmp_path, made, 0, **changes)), made, "query", round_number=0))
    assert words in sentence
    assert "secret" not in sentence
    assert "/home" not in sentence


def test_the_hospital_s_own_log_says_what_the_server_is_not_told(tmp_path: Path) -> None:
    file = file_of(tmp_path, tiny(), 0, strategy="/home/me/secret.py:Mine")
    with own_log() as lines:
        refusal(ask(hospitals(file), tiny(), "query", round_number=0))
    assert any("there is no file /home/me/secret.py" in line for line in lines)


@pytest.mark.parametrize("private", [False, True])
def test_what_a_hospital_s_strategy_raises_stays_at_home(tmp_path: Path, private: bool) -> None:
    (tmp_path / "mine.py").write_text(
        "from clients.honest import Honest\n"
        "class Mine(Honest):\n"
        "    def prepare(self, records, model): raise ValueError('patient 7')\n"
    )
    made = tiny(**PRIVATE) if private else tiny()
    file = file_of(tmp_path, made, 0, strategy=f"{tmp_path}/mine.py:Mine")
    _, reply = join(hospitals(file), made, [1])
    assert refusal(reply) == "strategy Mine.prepare raised ValueError; the client's own log tells more"


def test_a_hospital_file_that_is_not_there_is_a_sentence_without_its_place(tmp_path: Path) -> None:
    sentence = refusal(ask(hospitals(tmp_path / "nowhere.toml"), tiny(), "query", round_number=0))
    assert sentence == "this node: its hospital file cannot be read; its own log says why"


def test_a_hospital_s_failure_is_told_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("patient 7")

    monkeypatch.setattr("clients.app.place_of", fail)
    sentence = refusal(ask(hospitals(tmp_path / "x.toml"), tiny(), "query", round_number=0))
    assert sentence == "this node failed with KeyError; its own log says where"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"classes": ["normal", "ill"]}, "its data have the classes 'normal', 'ill', the server's 'normal', 'bac"),
        ({"colour": True}, "its images have 3 channels, the server's 1"),
        ({"side": 32}, "its images are 32 pixels wide, the server's 28; set data.image_size = 28"),
    ],
)
def test_data_unlike_the_server_s_are_refused_and_only_the_hospital_hears_how(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    side, classes = arrays.get("side", 28), arrays.get("classes", ["normal", "bacterial", "viral"])
    images = np.random.default_rng(0).integers(0, 256, (20, side, side), dtype=np.uint8)
    images = np.repeat(images[..., None], 3, axis=-1) if "colour" in arrays else images
    labels = np.arange(20) % len(classes)
    np.savez(tmp_path / "r.npz", train_images=images, train_labels=labels, classes=np.array(classes))
    data = tiny().data.model_copy(update={"source": f"npz:{tmp_path}/r.npz", "image_size": None})
    file = file_of(tmp_path, tiny(), 0, data=data, share=None)
    sentence = "a: its data are not like the server's (classes, channels or image size); its own log says why"
    with own_log() as lines:
        assert refusal(ask(hospitals(file), tiny(), "query", round_number=0)) == sentence
        assert refusal(ask(hospitals(file), tiny(), "train")) == sentence
    assert sum(line.startswith(f"psreval: a: {words}") for line in lines) == 2


def test_in_a_simulation_data_unlike_the_server_s_are_told_in_full() -> None:
    made = tiny(data__image_size=32)
    assert "a: its images are 32 pixels wide, the server's 28" in refusal(ask(simulated(), made, "query"))


def bare(configuration: dict[str, Any]) -> InProcessGrid:
    """A node with this configuration and nothing else, as Flower's own SuperNode would give it."""
    grid = InProcessGrid(app, 1)
    grid._contexts[1].node_config.clear()
    grid._contexts[1].node_config.update(configuration)
    return grid


def fake_ray(monkeypatch: pytest.MonkeyPatch, *, initialised: bool) -> None:
    ray = types.ModuleType("ray")
    ray.is_initialized = lambda: initialised  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)


@pytest.mark.parametrize("believed", [{"in-process": True}, {"in-process": True, "num-partitions": 2}])
def test_a_client_of_this_process_is_believed(believed: dict[str, Any]) -> None:
    assert "name" in ask(bare({"partition-id": 0, **believed}), tiny(), "query", round_number=0)["client"]


def test_a_client_in_a_ray_worker_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ray(monkeypatch, initialised=True)
    assert "name" in ask(bare({"partition-id": 0}), tiny(), "query", round_number=0)["client"]


@pytest.mark.parametrize("told", [{}, {"in-process": False}, {"in-process": "true"}, {"in-process": 1}])
@pytest.mark.parametrize("ray", ["absent", "imported"])
def test_a_deployed_node_without_a_hospital_file_does_nothing(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], ray: str
) -> None:
    if ray == "imported":
        fake_ray(monkeypatch, initialised=False)
    else:
        monkeypatch.delitem(sys.modules, "ray", raising=False)
    grid = bare({"partition-id": 0, "num-partitions": 2, **told})
    for kind, number in (("query", 0), ("train", 1)):
        assert "this node has no hospital file" in refusal(ask(grid, tiny(), kind, round_number=number))
    assert "ray" not in sys.modules or ray == "imported"


def test_a_hospital_file_comes_before_any_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ray(monkeypatch, initialised=True)
    file = file_of(tmp_path, tiny(), 1)
    configuration = {"partition-id": 0, "in-process": True, "hospital": str(file)}
    assert ask(bare(configuration), tiny(), "query", round_number=0)["client"]["name"] == "b"


def test_a_partition_number_beyond_the_roster_is_refused() -> None:
    assert "partition-id = 4" in refusal(ask(simulated(5), tiny(), "query", node=5, round_number=0))


def test_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    sentence = refusal(ask(simulated(), tiny(device="cuda"), "query", round_number=0))
    assert sentence == "a: device = 'cuda', but it has no GPU; set device = 'auto' or 'cpu'"


def test_an_unknown_model_is_a_sentence(tmp_path: Path) -> None:
    made = tiny(model__name="resnet8")
    sentence = refusal(ask(hospitals(file_of(tmp_path, tiny(), 0)), made, "query", round_number=0))
    assert "did you mean 'resnet" in sentence
    with pytest.raises(UserError, match="runs no file"):
        own_experiment(tiny(model__name="x.py:f"), load_hospital(file_of(tmp_path, tiny(), 0)))


def test_each_client_s_model_is_its_own() -> None:
    request = asked(Message(request_of(tiny(), "train", 1), dst_node_id=1, message_type="train"))
    context = Context(1, 1, {"in-process": True, "partition-id": 0}, RecordDict(), {})
    first, second = (place_of(request, context).model(request.images) for _ in range(2))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
        one.data.fill_(7)
        one.requires_grad_(False)
    third = place_of(request, context).model(request.images)
    assert all(torch.equal(two, three) for two, three in zip(second.parameters(), third.parameters(), strict=True))
    assert all(three.requires_grad for three in third.parameters())
