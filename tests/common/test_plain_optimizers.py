"""torch's optimisers without its compiler: the same steps, bit for bit."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from common.code import ROOT
from common.description import Training
from common.plain_optimizers import PLAIN
from common.training import build_optimizer

THEIRS = {"nadam": torch.optim.NAdam, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
    for _ in range(number):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", PLAIN)
def test_steps_and_states_are_those_of_torch(name: str) -> None:
    ours, theirs = network(), network()
    settings = {"lr": 0.05, "weight_decay": 0.01} | ({"momentum": 0.9} if name == "sgd" else {})
    plain = PLAIN[name](ours.parameters(), **settings)  # type: ignore[arg-type]
    other = THEIRS[name](theirs.parameters(), **settings)  # type: ignore[arg-type]
    for number in (1, 3):
        steps(ours, plain, number)
        steps(theirs, other, number)
    assert all(torch.equal(one, two) for one, two in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert all(one.requires_grad and one.grad_fn is None for one in ours.parameters())
    torch.testing.assert_close(plain.state_dict(), other.state_dict(), rtol=0, atol=0)
    again = PLAIN[name](copy.deepcopy(ours).parameters(), **settings)  # type: ignore[arg-type]
    again.load_state_dict(other.state_dict())
    torch.testing.assert_close(again.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert isinstance(plain, THEIRS[name])
    assert type(plain).__name__ == THEIRS[name].__name__


@pytest.mark.parametrize("name", PLAIN)
def test_a_description_gets_its_optimizer(name: str) -> None:
    chosen = build_optimizer(network(), Training(optimizer=name, learning_rate=0.5, weight_decay=0.25, momentum=0.75))
    assert isinstance(chosen, THEIRS[name])
    assert (chosen.defaults["lr"], chosen.defaults["weight_decay"]) == (0.5, 0.25)
    assert chosen.defaults.get("momentum") == (0.75 if name == "sgd" else None)


@pytest.mark.parametrize("name", PLAIN)
def test_it_can_be_saved_as_torch_s_own(name: str) -> None:
    settings = {"momentum": 0.9} if name == "sgd" else {}
    plain = PLAIN[name](network().parameters(), lr=0.1, **settings)
    again = pickle.loads(pickle.dumps(plain))  # noqa: S301 - made here
    assert type(again) is type(plain)
    assert pickle.loads(pickle.dumps(type(plain))) is type(plain)  # noqa: S301


@pytest.mark.parametrize("private", [False, True])
def test_a_federation_does_not_import_the_compiler(private: bool, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from common.config import parse; from common.data import prepare;"
        "from experiments.run import train;"
        "experiment = parse({'name': 'small', 'data': {'train_records': 32, 'public_records': 16, 'test_records': 16,"
        f"'image_size': 28}}, 'model': {{'width': 4}}, 'clients': [{{'count': 2, 'private': {private}}}]}}, 'small');"
        "train(experiment, prepare(experiment.data), Path(sys.argv[1]), 'inprocess');"
        "import torch; from common.training import build_optimizer; own = torch.nn.Linear(2, 2);"
        "kept = build_optimizer(own, experiment.training); kept.load_state_dict(kept.state_dict());"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
