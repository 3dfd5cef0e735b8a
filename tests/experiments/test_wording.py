import json

import pytest

from common.folder import RunFolder, read_json, write_json
from experiments import wording
from experiments.run_files import read_run
from experiments.run_formats import Ledger


@pytest.mark.parametrize(
    ("holds", "sentence"),
    [
        ((True, True, True, True), "Private, robust, small and useful."),
        ((False, False, False, False), "Neither private, nor robust, nor small, nor useful."),
        ((True, None, True, True), "Private, small and useful; whether it is robust is not decided."),
        ((False, True, True, True), "Robust, small and useful, but not private."),
        ((None, False, False, False), "Not robust, not small and not useful; whether it is private is not decided."),
        ((None, None, None, None), "Whether it is private, robust, small and useful is not decided."),
    ],
)
def test_the_headline_says_every_answer_once(
    finished_run: RunFolder, holds: tuple[bool | None, ...], sentence: str
) -> None:
    evaluation = read_json(finished_run.evaluation)
    for question, answer in zip(wording.QUESTIONS, holds, strict=True):
        evaluation["verdict"][question]["holds"] = answer
    write_json(finished_run.evaluation, evaluation)
    assert wording.headline(read_run(finished_run).evaluation) == sentence


def test_malicious_clients_alone_promise_nobody_anything() -> None:
    client = {"name": "m", "strategy": "s", "honest": False, "private": True, "records": 1, "epsilon": 1.0}
    ledger = Ledger.model_validate(json.loads(json.dumps({"clients": [client], "worst_honest_epsilon": None})))
    first, second = wording.whose_epsilon(ledger)
    assert first.startswith("No honest client took part")
    assert second == "m is malicious and yet keeps its ledger."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.grey_levels(8 / 255), "8/255"),
        (wording.grey_levels(0.3), "0.3"),
        (wording.power_of_ten(1e-5), "10⁻⁵"),
        (wording.power_of_ten(2.5e-4), "2.5·10⁻⁴"),
        (wording.size(999), "999 B"),
        (wording.size(2_447_946 * 4), "9.79 MB"),
        (wording.size(999_999), "1.00 MB"),
        (wording.size(123_456), "123 kB"),
        (wording.duration(0.44), "0.4 s"),
        (wording.duration(59.7), "1 min 0 s"),
        (wording.duration(7800), "2 h 10 min"),
        (wording.percent(None), "–"),
        (wording.epsilon(None), "no guarantee"),
        (wording.sentence("int8: less"), "int8: less."),
        (wording.sentence("why?"), "Why?"),
        (wording.listed(["a", "b", "c"]), "a, b and c"),
        (wording.partition_spec([3.0, 1.0]), "sizes 3 : 1"),
    ],
)
def test_numbers_in_words(said: str, expected: str) -> None:
    assert said == expected


def test_pixels_that_agree_have_no_interval() -> None:
    shares = {"int8_fp32": 0.985, "records": 80}
    assert wording.agreements(shares, "segmentation") == ["int8 and fp32 for 98.5 % of the pixels"]
