"""Imports go down only: common ← attacks ← clients | server | peers ← experiments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("common", "attacks", "clients", "server", "peers", "experiments")
BELOW = {
    "common": set(),
    "attacks": {"common"},
    "clients": {"common", "attacks"},
    "server": {"common", "attacks"},
    "peers": {"common", "attacks"},
    "experiments": {"common", "attacks", "clients", "server", "peers"},
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert imported(path) & set(ROOMS) <= BELOW[room] | {room}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert imported(path) & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} == set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "pd.read_pickle"}
            if called in {"np.load", "numpy.load"}:
                allowed = [keyword for keyword in node.keywords if keyword.arg == "allow_pickle"]
                assert allowed
                assert ast.unparse(allowed[0].value) == "False"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_seeds_the_global_random_state(path: Path) -> None:
    if path == ROOT / "attacks" / "guard.py":
        pytest.skip(
            "seeds what library attacks draw from, and puts every state back; tests/attacks/test_guard.py shows it"
        )
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    forbidden = {"np.random.seed", "torch.cuda.manual_seed_all"}
    assert called & forbidden == set()
