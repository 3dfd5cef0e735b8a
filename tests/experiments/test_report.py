import json
import re
import shutil
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from common.config import parse
from common.folder import RunFolder, append_line, read_json, write_json, write_text
from common.intervals import wilson
from experiments import findings, wording
from experiments.report import write_report
from experiments.run_files import read_run
from server.measures import measure

MakeRun = Callable[..., RunFolder]
VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements, identifiers, addresses and text of a page; complains about tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def page(folder: RunFolder) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_report_loads_nothing_and_runs_nothing(finished_run: RunFolder) -> None:
    found = page(finished_run)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    style = re.findall(r"<style>.*?</style>", write_report(finished_run).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(style) >= 1
    assert not [rule for rule in style if "@import" in rule or "url(" in rule]


def test_everything_that_is_pointed_to_is_in_the_page_once(finished_run: RunFolder) -> None:
    found = page(finished_run)
    identifiers = [str(attributes["id"]) for _, attributes in found.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    pointed = {
        str(a[name])[1:] for _, a in found.tags for name in ("href", "xlink:href") if str(a.get(name)).startswith("#")
    }
    assert pointed <= set(identifiers)


def test_pictures_and_tables_can_be_read_by_those_who_do_not_see_them(finished_run: RunFolder) -> None:
    found = page(finished_run)
    assert found.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in found.all("img"))
    assert all(drawing["aria-label"] for drawing in found.all("svg"))
    assert len(found.all("caption")) == len(found.all("table"))
    assert all("scope" in head for head in found.all("th"))
    numbers = re.findall(r"Table (\d+)\.", found.text)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert re.findall(r"Figure (\d+)\.", found.text) == ["1", "2", "3", "4", "5"]


def test_the_verdict_comes_before_everything_else(finished_run: RunFolder) -> None:
    text = page(finished_run).text
    verdict = text.index("Private, small and useful, but not robust.")
    assert verdict < text.index("Private? ✓ Yes") < text.index("Against whom", text.index("Robust? ✕ No"))
    assert "ε = 6.90" in text[: text.index("Table 1.")]
    for asked in ("asked: ε ≤ 8 (stated)", "asked: ≥ 50 % (default)", "asked: ≥ 70 % (default)"):
        assert asked in text


def test_every_accuracy_has_its_n_and_its_interval(finished_run: RunFolder) -> None:
    text = page(finished_run).text
    for value, n in ((0.842, 500), (0.3, 200), (0.255, 200), (0.683, 60), (0.83, 300)):
        assert f"{100 * value:.1f} % ({wording.interval(wilson(value, n))})" in text
    assert f"95 % interval {wording.interval(wilson(0.295, 200))}, n = 200" in text.replace("\xa0", " ")


def test_medical_measures_are_shown_clean_and_under_attack_if_there_are_any(
    finished_run: RunFolder, make_run: MakeRun
) -> None:
    text = page(finished_run).text
    assert "0.953" in text
    assert "0.610" in text
    assert f"92.0 % ({wording.interval(wilson(0.92, 350))})" in text
    shutil.rmtree(finished_run.path)
    assert "AUROC" not in page(make_run(rows=[measure("int8", "clean", "none", "accuracy", 0.9, 500)])).text


def test_whose_epsilon_holds_and_whose_does_not_is_said(finished_run: RunFolder) -> None:
    text = page(finished_run).text
    assert "for each record of north hospital, the honest client with the weakest guarantee." in text
    assert "south hospital is malicious and ignores differential privacy: no ε holds for its own records." in text


def test_without_a_guarantee_none_is_printed(make_run: MakeRun) -> None:
    text = page(make_run(private=False)).text
    assert "Private? ✕ No no guarantee" in text
    assert "No guarantee holds: north hospital and east hospital train without differential privacy" in text
    assert "non-private: no guarantee" in text


def test_synthetic_data_is_said_first_and_only_if_it_is(make_run: MakeRun) -> None:
    folder = make_run()
    text = page(folder).text
    assert text.index("Synthetic data.") < text.index("but not robust")
    manifest = read_json(folder.manifest)
    manifest["data"]["synthetic"] = False
    write_json(folder.manifest, manifest)
    assert "synthetic data." not in page(folder).text.lower()


def test_an_evaluation_that_flags_itself_is_not_to_be_believed_and_the_reasons_come_first(make_run: MakeRun) -> None:
    text = page(make_run(credible=False)).text
    assert text.index("Not to be believed.") < text.index("gradients are masked.") < text.index("is not decided.")
    assert "Robust? ? Not decided" in text


def test_a_credible_evaluation_is_not_called_into_question(finished_run: RunFolder) -> None:
    assert "Not to be believed" not in page(finished_run).text


def test_what_others_wrote_is_shown_as_text(make_run: MakeRun) -> None:
    evil = '<script>alert("1")</script><img src=http://x/ onerror=a>'
    folder = make_run(reason=evil, classes=("normal", evil, "$v$"))
    ledger = read_json(folder.ledger)
    ledger["clients"][1]["name"] = ledger["clients"][1]["strategy"] = evil
    write_json(folder.ledger, ledger)
    found = page(folder)
    assert found.text.count(evil) >= 4
    test_the_report_loads_nothing_and_runs_nothing(folder)


def test_the_same_folder_gives_the_same_bytes(finished_run: RunFolder, tmp_path: Path) -> None:
    first = write_report(finished_run).read_bytes()
    copy = RunFolder(tmp_path / "elsewhere")
    shutil.copytree(finished_run.path, copy.path)
    assert write_report(copy).read_bytes() == first


def test_only_the_report_is_written(finished_run: RunFolder) -> None:
    before = {path: path.read_bytes() for path in finished_run.path.iterdir()}
    write_report(finished_run)
    after = {path: path.read_bytes() for path in finished_run.path.iterdir()}
    assert after.keys() - before.keys() == {finished_run.report}
    assert all(after[path] == content for path, content in before.items())


def test_images_show_what_was_predicted(finished_run: RunFolder) -> None:
    found = page(finished_run)
    assert len(found.all("img")) == 18
    assert "Truth: bacterial" in found.text
    assert "at most 8/255" in found.text
    finished_run.examples.unlink()
    assert page(finished_run).all("img") == []


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_of_any_number_of_channels_are_shown(make_run: MakeRun, channels: int) -> None:
    assert len(page(make_run(channels=channels)).all("img")) == 18


def test_a_run_that_was_not_attacked_is_reported(make_run: MakeRun) -> None:
    rows = [measure(target, "clean", "none", "accuracy", 0.9, 500) for target in ("fp32", "int8")]
    text = page(make_run(rows=rows, examples=False)).text
    assert "No attack was tried, so nothing is known of the model's robustness." in text
    assert "Any adversary no attack was tried" in text
    assert "No adversary was tried." in text
    assert "Of the adversaries tried" not in text


def test_a_federation_of_many_clients_and_rounds_names_those_that_were_refused(make_run: MakeRun) -> None:
    folder = make_run()
    experiment = tomllib.loads(folder.experiment.read_text(encoding="utf-8"))
    write_text(folder.experiment, parse({**experiment, "clients": [{"count": 60}]}, "a test").to_toml())
    folder.rounds.unlink()
    for number in range(1, 31):
        clients: list[dict[str, object]] = [
            {"name": f"client-{i + 1}", "status": "accepted" if i else "silent",
             "reason": "" if i else "no reply within 5 s", "examples": 1, "bytes_up": 1,
             "bytes_down": 1, "accuracy": 0.5 if i else None, "metrics": {}}
            for i in range(60)
        ]  # fmt: skip
        append_line(
            folder.rounds,
            {"round": number, "status": "skipped", "reason": "why not", "seconds": 1.0, "accuracy": 0.5,
             "accuracy_records": 100, "clients": clients},
        )  # fmt: skip
    text = page(folder).text
    assert text.count("59 of 60 accepted, alone 50.0 % to 50.0 %") == 30
    assert text.count("no reply within 5 s") == 30
    assert text.count("skipped: why not") == 30


def test_keys_that_a_later_version_adds_are_passed_over(finished_run: RunFolder) -> None:
    for path in (finished_run.manifest, finished_run.ledger, finished_run.evaluation, finished_run.partition):
        write_json(path, read_json(path) | {"later": {"a": 1}})
    write_report(finished_run)


def test_queries_on_a_part_of_the_images_are_said_to_be_so_where_it_matters(finished_run: RunFolder) -> None:
    text = page(finished_run).text
    meaning = "Queries were tried on 60 of the 200 images; on the others every worst case is that of the other attacks."
    assert "queries were tried on 60 of the 200 images" in text[: text.index("Figure 1.")]
    assert meaning in text[text.index("Figure 1.") : text.index("Table 1.")]
    assert "queries an image, on 60 of the 200 images" in text
    evaluation = read_json(finished_run.evaluation)
    write_json(finished_run.evaluation, evaluation | {"queried_records": 200})
    assert "of the 200 images" not in page(finished_run).text


@pytest.mark.parametrize(
    ("secure", "short", "long"),
    [
        ("false", "only against those who do not know the seed", "and the server knows the seed: ε holds only against"),
        ("true", "against the server too", "from no seed: ε holds against the server too."),
    ],
)
def test_against_whom_epsilon_holds_is_said_beside_it_and_in_the_ledgers(
    make_run: MakeRun, secure: str, short: str, long: str
) -> None:
    text = page(make_run(secure_noise=secure)).text
    assert short in text[: text.index("Robust?")]
    assert long in text[text.index("Privacy ledgers") :]


def test_without_private_clients_nothing_is_said_of_noise(make_run: MakeRun) -> None:
    assert "know the seed" not in page(make_run(private=False)).text


def test_a_node_that_nobody_knows_is_no_client(finished_run: RunFolder) -> None:
    lines = [json.loads(line) for line in finished_run.rounds.read_text(encoding="utf-8").splitlines()]
    finished_run.rounds.unlink()
    for line in lines:
        reason = {"status": "absent", "reason": "did not introduce itself in time"}
        line["clients"] = [*line["clients"][:2], {"name": "node 123", **reason}]
        append_line(finished_run.rounds, line)
    text = page(finished_run).text
    assert "3 clients (1 malicious)" in text
    assert text.count("unknown node 123: absent did not introduce itself in time") == 3
    assert "1 unknown node connected that is none of the clients, and took no part: node 123." in text
    assert "east hospitalhonest5200 of 3" in text


def test_a_name_claimed_twice_keeps_its_accuracy(finished_run: RunFolder) -> None:
    lines = [json.loads(line) for line in finished_run.rounds.read_text(encoding="utf-8").splitlines()]
    finished_run.rounds.unlink()
    for line in lines:
        claimed = {"name": "north hospital", "status": "absent", "reason": "client number 0 is already taken"}
        append_line(finished_run.rounds, line | {"clients": [*line["clients"], claimed]})
    row = findings.roster(read_run(finished_run))[0]
    assert (row["accepted"], row["rounds"], row["accuracies"]) == (3, 3, [0.55, 0.74, 0.85])


def rewrite(folder: RunFolder, change: Callable[[dict], object]) -> RunFolder:
    """Change every line of rounds.jsonl."""
    lines = [json.loads(line) for line in folder.rounds.read_text(encoding="utf-8").splitlines()]
    folder.rounds.unlink()
    for line in lines:
        change(line)
        append_line(folder.rounds, line)
    return folder


def test_who_was_missing_when_and_who_was_excluded_since_when_is_told(finished_run: RunFolder) -> None:
    def change(line: dict) -> None:
        _, south, east = line["clients"]
        if line["round"] == 1:
            south |= {"status": "refused", "strike": True, "reason": "it holds NaN"}
            east |= {"status": "refused", "strike": False, "reason": "the client failed: no memory"}
        else:
            south |= {"status": "excluded", "reason": "1 of its updates was refused (round 1), the last: it holds NaN"}
            east |= {"status": "absent", "reason": "not connected"}

    text = page(rewrite(finished_run, change)).text
    part = text[text.index("Who took part") :]
    assert (
        "south hospital1 (round 1)–––since round 2: 1 of its updates was refused (round 1), the last: it holds NaN"
        in part
    )
    assert "east hospital–1 (round 1)–2 (rounds 2–3)–" in part
    assert "north hospital–––––" in part
    assert "3 such updates exclude a client for the rest of the run" in part


def test_where_everybody_took_part_nothing_more_is_drawn(finished_run: RunFolder) -> None:
    def accept(line: dict) -> None:
        for client in line["clients"]:
            client |= {"status": "accepted", "reason": ""}

    text = page(rewrite(finished_run, accept)).text
    assert "Every client took part in every round, and every update was accepted." in text
    assert "Absent: it could not be asked." not in text


def test_a_refused_client_s_reason_is_text_and_no_markup(finished_run: RunFolder) -> None:
    evil = "<script>alert(1)</script>"

    def change(line: dict) -> None:
        line["clients"][1] |= {"status": "excluded", "reason": evil}
        line["clients"][2] |= {"ignored": 2}

    found = page(rewrite(finished_run, change))
    assert f"since round 1: {evil}" in found.text
    assert "script" not in {tag for tag, _ in found.tags}
    assert "east hospital sent 6 replies beyond the first of a round, which were ignored." in found.text


def test_the_size_of_an_update_stands_beside_the_model_s(finished_run: RunFolder) -> None:
    def compressed(line: dict) -> None:
        line["clients"][0]["bytes_up"] = 2_440_000

    write_text(
        finished_run.experiment,
        finished_run.experiment.read_text(encoding="utf-8").replace(
            'update_compression = "none"', 'update_compression = "int8"'
        ),
    )
    text = page(rewrite(finished_run, compressed)).text
    assert "beside 9.76 MB of the fp32 model; updates travel as int8, with error feedback." in text
    assert "north hospitalhonest5403 of 32.44 MB7.33 MB7.33 MB" in text


def test_clients_with_data_of_their_own_have_the_records_that_they_announced(finished_run: RunFolder) -> None:
    partition = read_json(finished_run.partition)
    for client in partition["clients"]:
        client |= {"records": [], "counts": [0, 0, 0]}
    write_json(finished_run.partition, partition)
    text = page(finished_run).text
    assert "The clients trained on records of their own, which the server does not know." in text
    assert "north hospitalhonest5403 of 3" in text
    assert "Training records of each client by class." not in text


def test_in_a_deployment_each_client_s_noise_is_its_own(finished_run: RunFolder) -> None:
    write_json(finished_run.manifest, read_json(finished_run.manifest) | {"runner": "server"})
    text = page(finished_run).text
    assert "against whom, each client's own noise decides" in text[: text.index("Robust?")]
    assert "Each client decides for itself where its noise comes from" in text[text.index("Privacy ledgers") :]


def test_latencies_that_were_not_measured_are_said_to_be_so(finished_run: RunFolder) -> None:
    assert "not measured" not in page(finished_run).text
    evaluation = read_json(finished_run.evaluation)
    evaluation["compression"]["latency_ms"] = {}
    write_json(finished_run.evaluation, evaluation)
    text = page(finished_run).text
    assert "Time of one forward pass: not measured." in text
    assert "in milliseconds; medians" not in text


def test_latencies_are_told_by_batch_with_threads_and_what_the_processor_lacks(finished_run: RunFolder) -> None:
    text = page(finished_run).text
    assert "in milliseconds; medians, 2 threads." in text
    assert all(f"{size} image" in text for size in (1, 64, 256))
    assert "no 8-bit dot product" not in text
    manifest = read_json(finished_run.manifest)
    manifest["machine"]["vnni"] = False
    write_json(finished_run.manifest, manifest)
    assert "no 8-bit dot product (VNNI)" in page(finished_run).text


def test_a_run_of_masks_is_told_in_dice_by_structure_with_its_masks(masked_run: RunFolder) -> None:
    found = page(masked_run)
    text = found.text
    assert "leaves the int8 model a mean Dice of 50.0 % (49.0–51.0), n = 200" in text
    assert "mean Dice of attacked images, int8, over all adversaries" in text
    assert "Dice of each structure" in text
    assert "grey <matter>" in text
    assert "197–200" in text  # some images have no grey matter
    assert "one mask for all" in text
    assert "40 to 49 years" in text
    assert "Student's over the images" in text
    assert "83.0 % (81.0–90.0)" in text
    assert text.count("found, attacked") == 6
    for word in ("accurac", "wilson", "commonest class, which a model", "success:"):
        assert word not in text.lower()
    drawn = [one["src"] for one in found.all("img") if str(one["alt"]).startswith("True mask")]
    assert len(set(drawn)) == 6
