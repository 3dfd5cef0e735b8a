"""The command line: what it teaches, what it lists, and every mistake as one sentence with exit code 2."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import cli
from experiments.known import KINDS

ROOT = Path(__file__).parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["psreval", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_help_teaches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("run", "attack", "report", "list", "Exit codes"))
    assert call(monkeypatch, "run", "--help") == 0
    assert "psreval run experiments/pneumonia.toml" in capsys.readouterr().out


def imported_by(commands: list[list[str]], heavy: tuple[str, ...]) -> list[str]:
    """Return which of these packages a process has imported that was given these commands."""
    code = f"""
import sys
from contextlib import suppress
from experiments import cli
for words in {commands}:
    sys.argv = ["psreval", *words]
    with suppress(SystemExit):
        cli.main()
print("HEAVY", *[name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    word, *found = done.stdout.splitlines()[-1].split()
    assert word == "HEAVY"
    return found


HEAVY = ("torch", "numpy", "flwr", "ray", "opacus", "matplotlib", "scipy", "onnx", "safetensors")


@pytest.mark.parametrize(
    ("commands", "heavy"),
    [
        ([["--help"], ["run", "--help"], ["list"], *(["list", kind] for kind in KINDS)], (*HEAVY, "pydantic")),
        (
            [
                ["list", "client"],
                ["fly"],
                ["run", "--seed"],
                ["run", "none.toml"],
                ["run", "--set", "seed=no"],
                ["server", "none.toml"],
                ["split", "none.toml", "--out", "none"],
                ["peers", "prepare", "none.toml", "--out", "none"],
            ],
            HEAVY,
        ),
        (
            # docs is a folder without runs; with them, see test_inventory.py. safetensors alone is light
            [
                ["runs", "--runs", "nowhere"],
                ["runs", "--runs", "docs", "--where", "seed=1"],
                ["runs", "--status", "no"],
            ],
            tuple(name for name in HEAVY if name != "safetensors"),
        ),
    ],
    ids=["help and lists", "mistakes", "runs"],
)
def test_help_lists_and_mistakes_import_nothing_heavy(commands: list[list[str]], heavy: tuple[str, ...]) -> None:
    assert imported_by(commands, heavy) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("clients", ["honest", "adversarial-training", "data-poisoner", "label-flipper", "update-poisoner"]),
        ("attacks", ["fgsm", "pgd", "fab", "square", "autoattack"]),
        ("aggregation", ["fedavg", "median", "trimmed-mean", "krum", "multi-krum", "bulyan"]),
        ("merge", ["mean", "alone", "median", "trimmed-mean", "krum", "norm-clipping", "centered-clipping"]),
        ("data", ["phantom", "cifar10", "pneumonia", "npz", "folder"]),
        ("models", ["resnet9", "resnet18"]),
        (
            "experiments",
            ["demo.toml", "pneumonia.toml", "cifar10.toml", "private.toml", "custom-client.toml", "braintorrent.toml"],
        ),
    ],
)
def test_list_names_what_a_description_can_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str, words: list[str]
) -> None:
    assert call(monkeypatch, "list", what) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in words)


def test_list_alone_names_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "list") == 0
    told = capsys.readouterr().out
    assert all(word in told for word in (*KINDS, "honest", "pgd", "krum", "phantom", "unet", "demo.toml"))


STUDY = str(ROOT / "experiments" / "paper" / "fig2.toml")

MISTAKES = [
    (["run", STUDY], "is a study, not an experiment"),
    (["study", "none.toml"], "there is no file none.toml"),
    (["study", STUDY, "--scale", "phantm"], "phantom"),
    (["study", STUDY, "--scale", "phantom", "--set", "federation.ruonds=5", "--dry-run"], "did you mean 'rounds'"),
    (["study", str(ROOT / "experiments" / "demo.toml")], "is an experiment, not a study"),
    (["runs", "--runs", "nowhere"], "there is no folder nowhere"),
    (["run", "none.toml"], "there is no file none.toml"),
    (["run", "--set", "federation.ruonds=5"], "did you mean 'rounds'"),
    (["run", "--set", "federation.rounds"], "--set key=value"),
    (["run", "--set", "evaluation.eps=8"], "'8/255'"),
    (["run", "--set", "privacy.epsilon=0"], "privacy.epsilon = 0"),
    (["run", "--runner", "cloud"], "--runner cloud"),
    (["run", "--set", "data.source=phantm"], "did you mean 'phantom'"),
    (["run", "--set", "data.source=npz:none.npz"], "none.npz"),
    (["run", "--set", "data.source=folder:/nowhere"], "/nowhere"),
    (["run", "--set", "clients.0.strategy=honets"], "did you mean 'honest'"),
    (["run", "--set", "clients.0.strategy=mine.py:Mine"], "mine.py"),
    (["run", "--set", "clients.1.options.fraktion=0.3"], "fraction"),
    (["run", "--set", "clients.1.options.attack=pgdd"], "pgd"),
    (["run", "--set", "evaluation.attacks=['pgdd']"], "did you mean 'pgd'"),
    (["run", "--set", "model.name=resnet99"], "resnet9"),
    (["run", "--set", "federation.aggregation=krumm"], "did you mean 'krum'"),
    (["run", "--set", "data.train_records=1"], "data.train_records"),
    (["run", "--set", "data.train_records=3", "--set", "clients=[{count=5}]"], "5 clients"),
    (["run", "--set", "data.public_records=3", "--set", "evaluation.records=10"], "public"),
    (["run", "--set", "evaluation.threats=['transfer']"], "evaluation.generators"),
    (["attack", "nowhere"], "there is no run at"),
    (["report", "nowhere"], "there is no run at"),
    (["list", "client"], "did you mean 'clients'"),
    (["fly"], "fly"),
    (["run", "--seed"], "--seed"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *words, *(["--quiet"] if words[0] == "run" and "--seed" not in words else [])) == 2
    told = capsys.readouterr()
    assert said in told.err, told.err
    assert told.err.startswith("psreval: ")
    assert "Traceback" not in told.err + told.out
    assert len(told.err.strip().splitlines()) == 1


def test_stopping_exits_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", lambda **_: stopped())
    assert call(monkeypatch, "run") == cli.EXIT_STOPPED
    assert "the same command resumes" in capsys.readouterr().err


def test_our_own_defect_is_told_apart_from_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", broken)
    assert call(monkeypatch, "run") == cli.EXIT_DEFECT
    assert "defect of psreval" in capsys.readouterr().err


def test_a_dry_run_tells_every_cell_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert call(monkeypatch, "study", STUDY, "--scale", "phantom", "--dry-run", "--runs", str(runs)) == 0
    told = capsys.readouterr().out
    assert told.count("to train, about") == 4
    assert "fig2 privacy=ε = 7 repeat 2" in told
    assert "4 cells, 4 different ones, of which 0 are in the store; 4 of 4 federations to train." in " ".join(
        told.split()
    )
    assert "left on" in told
    assert not runs.exists()


@pytest.mark.parametrize("name", ["fig2", "fig5"])
def test_the_papers_scale_is_estimated_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    changes = ["--set", "data.source=phantom", "--set", "data.image_size=32", "--set", "model.width=4"]
    words = ["study", str(ROOT / "experiments" / "paper" / f"{name}.toml"), "--scale", "paper", "--dry-run", *changes]
    assert call(monkeypatch, *words, "--runs", str(tmp_path / "runs")) == 0
    assert "federations to train" in " ".join(capsys.readouterr().out.split())


def test_runs_lists_and_removes_only_when_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "demo" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text("nonsense")
    runs = ["--runs", str(tmp_path / "runs")]
    assert call(monkeypatch, "runs", *runs) == 0
    assert "demo/0123456789abcdef" in capsys.readouterr().out
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert call(monkeypatch, "runs", "--remove", *runs) == 2
    assert "say --yes" in capsys.readouterr().err
    assert folder.exists()
    assert call(monkeypatch, "runs", "--remove", "--yes", *runs) == 0
    assert not folder.exists()


def test_a_reader_that_has_read_enough_is_no_defect() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "experiments.cli", "--help"]
        done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert done.stderr == ""


def to_a_full_disk(*words: str, unbuffered: str = "") -> None:
    """Run a command whose standard output has no room, and check what it says of that."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli", *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    *_, last = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert last.startswith("psreval: standard output cannot be written: No space left on device; ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("No space") == 1


full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@full_disk
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["list"], ["list", "clients"]])
def test_a_full_disk_behind_standard_output_is_told_in_a_sentence(words: list[str], unbuffered: str) -> None:
    to_a_full_disk(*words, unbuffered=unbuffered)


@full_disk
def test_the_exit_code_tells_where_a_sentence_cannot_be_printed() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "experiments.cli", "list", "nosuch"], cwd=ROOT, stderr=full)
    assert done.returncode == 2


def test_a_terminal_that_knows_few_letters_is_no_defect() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "experiments.cli", "list", "data"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


TINY = """
name = "tiny-cli"
model = { width = 4 }
federation = { rounds = 1 }
data = { image_size = 28, train_records = 60, public_records = 24, test_records = 24 }
evaluation = { records = 6, steps = 2, stress_records = 6, threats = ["insider"], attacks = ["fgsm"] }
"""


@full_disk
def test_a_run_whose_verdict_cannot_be_printed_is_finished_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    runs = ["--runs", str(tmp_path / "runs")]
    to_a_full_disk("run", str(tmp_path / "tiny.toml"), *runs, "--quiet")
    (folder,) = (tmp_path / "runs" / "tiny-cli").iterdir()
    assert (folder / "report.html").exists()
    to_a_full_disk("runs", *runs)


def test_a_closed_standard_output_is_no_mistake() -> None:
    command = f'exec "{sys.executable}" -m experiments.cli list >&-'
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_standard_output_is_told_so_and_another_full_disk_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "app", full)
    assert call(monkeypatch, "run") == cli.EXIT_DEFECT
    assert "standard output" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "study", "server", "node", "split", "attack", "report", "list"])
def test_help_says_what_an_argument_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert call(monkeypatch, command, "--help") == 0
    told = capsys.readouterr().out
    argument = told.split("Arguments")[1].split("Options")[0].splitlines()[1]
    assert any(word in argument for word in ("description", "Description", "run", "clients")), argument
