import ast
import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from common.errors import UserError
from common.folder import RunFolder, append_line, read_json, write_json
from experiments.model_card import literal, write_model_card
from server.measures import measure

SECTIONS = (
    "Model details", "Intended use", "Training data", "Federation", "Privacy", "Accuracy and robustness", "Compression",
    "Caveats", "How to load", "Provenance",
)  # fmt: skip


def card(folder: RunFolder) -> str:
    return write_model_card(folder).read_text(encoding="utf-8")


def snippet(text: str) -> str:
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert found
    return found[1]


def test_the_usual_sections_come_in_their_order(finished_run: RunFolder) -> None:
    assert tuple(re.findall(r"^## (.*)$", card(finished_run), flags=re.MULTILINE)) == SECTIONS


def test_it_says_what_the_model_is_not_for_and_whose_epsilon_holds(finished_run: RunFolder) -> None:
    text = card(finished_run)
    assert "not a medical device" in text
    assert "**Synthetic data.**" in text
    assert "for each record of north hospital" in text
    assert "south hospital is malicious and ignores differential privacy" in text


def test_an_evaluation_that_flags_itself_is_not_to_be_believed(make_run: Callable[..., RunFolder]) -> None:
    assert "**Not to be believed.**" in card(make_run(credible=False))


def test_it_says_on_how_many_images_queries_were_tried_and_against_whom_epsilon_holds(
    make_run: Callable[..., RunFolder],
) -> None:
    text = card(make_run())
    assert text.count("ueries were tried on 60 of the 200 images") == 2
    assert "and the server knows the seed: ε holds only against those who do not know it." in text
    assert "only against those who do not know the seed" in text[: text.index("## Model details")]
    assert "ε holds against the server too." in card(make_run(secure_noise="true"))


def test_a_run_that_was_not_attacked_says_so_and_why_it_is_not_decided(make_run: Callable[..., RunFolder]) -> None:
    rows = [measure(target, "clean", "none", "accuracy", 0.9, 500) for target in ("fp32", "int8")]
    folder = make_run(rows=rows, examples=False)
    evaluation = read_json(folder.evaluation)
    evaluation["verdict"]["robust"] |= {"holds": None, "value": None, "sentence": "no white-box attack was made"}
    write_json(folder.evaluation, evaluation)
    text = card(folder)
    assert "| Robust? | Not decided: no white-box attack was made | – (no attack was tried) |" in text
    assert "| Any adversary (no attack was tried) | – | – |" in text
    assert "No attack was tried, so nothing is known of the model" in text


def test_a_node_that_nobody_knows_is_no_client(finished_run: RunFolder) -> None:
    stranger = {"name": "node 123", "status": "absent", "reason": "did not introduce itself in time"}
    append_line(finished_run.rounds, {"round": 4, "status": "skipped", "clients": [stranger]})
    text = card(finished_run)
    assert "1 unknown node connected that is none of the clients, and took no part: node 123." in text
    assert "| node 123" not in text


def test_every_table_has_as_many_cells_in_each_row_as_its_head(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(classes=("a|b", "<i>x</i>", "new\nline"), reason="a|b")
    for table in re.findall(r"(?:^\|.*\|\n)+", card(folder), flags=re.MULTILINE):
        lines = table.splitlines()
        assert re.fullmatch(r"\|(-+:?\|)+", lines[1])
        assert len(lines) > 2
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    text = card(folder)
    assert "<i>" not in text.replace(snippet(text), "")


def test_the_snippet_to_load_the_model_works(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(classes=("nor'mal", 'b"c', "v"))
    onnx.save(_constant_model(), folder.int8_model)
    monkeypatch.chdir(folder.path)
    code = snippet(card(folder))
    ast.parse(code)
    exec(compile(code, "MODEL_CARD.md", "exec"), {})
    assert capsys.readouterr().out == "['b\"c']\n".replace("'b\"c'", repr('b"c'))


def test_the_same_folder_gives_the_same_bytes_without_its_place(finished_run: RunFolder) -> None:
    text = card(finished_run)
    assert card(finished_run) == text
    assert str(finished_run.path) not in text


def test_an_unfinished_or_damaged_run_is_refused(finished_run: RunFolder) -> None:
    write_json(finished_run.ledger, {**read_json(finished_run.ledger), "clients": 3})
    with pytest.raises(UserError, match=re.escape(str(finished_run.ledger))):
        write_model_card(finished_run)
    finished_run.results.unlink()
    with pytest.raises(UserError, match="psreval run"):
        write_model_card(finished_run)


@pytest.mark.parametrize(
    ("text", "shown"), [("a|b", r"a\|b"), ("<b>", r"\<b\>"), ("a\nb", "a b"), (" (x)", " (x)"), ("x_1*", r"x\_1\*")]
)
def test_text_is_shown_as_it_is(text: str, shown: str) -> None:
    assert literal(text) == shown
    assert literal(3) == 3


def _constant_model() -> onnx.ModelProto:
    """images → the same logits for every image, class 1 the largest."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    weights = onnx.numpy_helper.from_array(np.zeros((1024, 3), np.float32), "weights")
    bias = onnx.numpy_helper.from_array(np.array([0, 1, 0], np.float32), "bias")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "constant", [images], [logits], [weights, bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_latencies_that_were_not_measured_are_said_to_be_so(finished_run: RunFolder) -> None:
    assert "not measured" not in card(finished_run)
    evaluation = read_json(finished_run.evaluation)
    evaluation["compression"]["latency_ms"] = {}
    write_json(finished_run.evaluation, evaluation)
    assert "\nMilliseconds a pass: not measured.\n" in card(finished_run)


def test_latencies_are_told_by_batch_with_threads_and_what_the_processor_lacks(finished_run: RunFolder) -> None:
    text = card(finished_run)
    assert "| Milliseconds a pass | 1 image | 64 images | 256 images |" in text
    assert "\nMedians, 2 threads.\n" in text
    manifest = read_json(finished_run.manifest)
    manifest["machine"]["vnni"] = False
    write_json(finished_run.manifest, manifest)
    assert "\nMedians, 2 threads. This processor has no 8-bit dot product (VNNI)" in card(finished_run)


def test_a_run_of_masks_has_dice_by_structure_and_masks_to_load(masked_run: RunFolder) -> None:
    text = card(masked_run)
    assert "float32 [N, 3, 32, 32]" in text
    assert "## Dice and robustness" in text
    assert "| int8 | White-box | 60.0 % (59.0–61.0), n = 200 | 40.0 % (39.0–41.0), n = 197 |" in text
    assert "masks = logits.argmax(1)" in text
    assert "20 to 29 years" in text
    assert "accurac" not in text.lower()
