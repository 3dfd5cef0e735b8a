import random
import re
from typing import Any

from experiments.study.claims import CLAIMS, judge
from experiments.study.claims_costs import costs, faults
from experiments.study.claims_page import claims_page
from experiments.study.results import Result
from tests.experiments.study.made_up import experiment, result

FACTS: dict[str, Any] = {
    "sizes": {"ResNet-9": {"fp32_bytes": 9_791_808, "int8_bytes": 2_469_573, "reduction": 0.748}},
    "attack_seconds": {"fgsm": [1.0, 2.0], "pgd": [8.0, 16.0], "fab": [50.0, 99.0]},
    "faults": [
        {
            "name": "attack on normalised images: CIFAR-10",
            "sentence": "The clamp | cuts.",
            "released": [0.02, 0.03],
            "ours": [0.21, 0.24],
            "n": 1200,
            "unit": "accuracy",
        },
        {
            "name": "largest change",
            "sentence": "x",
            "released": [127.5],
            "ours": [8.0],
            "n": 200,
            "unit": "grey_levels",
        },
    ],
}


def study(synthetic: bool = False) -> list[Result]:
    rng = random.Random(1)
    return [
        result(
            experiment(epsilon=epsilon, trained=trained, seed=1 + repeat),
            repeat,
            {
                (target, threat): round(rng.uniform(0.2, 0.6), 3)
                for target in ("fp32", "int8")
                for threat in ("clean", "white-box", "insider")
            },
            seconds={None: 40.0}.get(trained, 80.0),
            synthetic=synthetic,
        )
        for epsilon in (None, 1.7)
        for trained in (None, ("pgd", 0.2))
        for repeat in range(3)
    ]


def tables(page: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [lines for lines in found if lines]


def test_every_claim_has_a_row_a_section_and_a_rule() -> None:
    page = claims_page(study(), FACTS, "small: two cores")
    for one in judge(study(), FACTS):
        assert page.count(f"[{one.claim}](#{one.asked.key})") == 1
        assert page.count(f'<a id="{one.asked.key}"></a>') == 1
        assert f"### {one.claim}\n" in page
        assert one.asked.reading in page
        assert one.command in page
    assert page.count("- Gradient masking: ") == sum(claim.quantization for claim in CLAIMS)
    assert "Scale: Small: two cores." in page


def test_the_page_is_the_same_for_the_same_cells() -> None:
    assert claims_page(study(), FACTS, "small") == claims_page(study(), FACTS, "small")


def test_tables_have_as_many_cells_as_their_heads() -> None:
    found = tables(claims_page(study(), FACTS))
    assert len(found) > 6
    for lines in found:
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]


def test_counts_at_the_top_are_those_of_the_table() -> None:
    page = claims_page(study(), FACTS)
    told = re.search(r"\*\*(\d+) confirmed, (\d+) refuted and (\d+) not decidable at this scale\*\*", page)
    assert told is not None
    rows = next(lines for lines in tables(page) if "verdict" in lines[0])[2:]
    assert [int(count) for count in told.groups()] == [
        sum(row.rstrip(" |").endswith(word) for row in rows)
        for word in ("confirmed", "refuted", "not decidable at this scale")
    ]
    assert len(rows) == len(CLAIMS)


def test_links_lead_somewhere_on_the_page() -> None:
    page = claims_page(study(), FACTS)
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= set(re.findall(r'<a id="([^"]*)"', page))


def test_nothing_measured_still_makes_a_page() -> None:
    page = claims_page([], {})
    assert "No cell is finished." in page
    assert page.count("Not measured.") == 2


def test_synthetic_data_is_called_so_before_any_verdict() -> None:
    page = claims_page(study(synthetic=True), {})
    assert page.index("Synthetic data.") < page.index("| claim |")
    assert "Synthetic" not in claims_page(study(), {})


def test_commands_can_be_those_of_another_scale() -> None:
    page = claims_page(study(), FACTS, commands=lambda name: f"psreval study {name}.toml --scale phantom")
    assert "`psreval study fig4.toml --scale phantom`" in page
    assert "experiments/paper" not in page


def test_faults_are_paired_and_in_their_own_units() -> None:
    _, table, told = faults(FACTS)
    first, second = table.splitlines()[2:]
    assert "| 2.5 %" in first
    assert "| 22.5 %" in first
    assert "| −20.0 points" in first
    assert first.endswith("| 1,200 |")
    assert "grey\\_levels" in second
    assert "| 120 (n = 1) |" in second
    assert "The clamp \\| cuts." in told


def test_times_of_attacks_and_of_defences_are_ratios() -> None:
    text = "\n".join(costs(study(), FACTS))
    assert "| PGD | 12 (" in text
    assert "| 8× (8–8; n = 2) |" in text
    assert (
        "| PGD adversarial training, CIFAR-10, ResNet-9 | without adversarial data | 2× (2–2; n = 3) | 1 min 20 s |"
        in text
    )
    assert "| DP-SGD, CIFAR-10, ResNet-9 | without privacy | 1× (1–1; n = 3) | 40 s |" in text
