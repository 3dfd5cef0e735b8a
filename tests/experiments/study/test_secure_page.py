import re
from pathlib import Path

from experiments.study.claims_secure import SECURE_CLAIMS
from experiments.study.secure_page import secure_page
from tests.experiments.study.made_up_cheaters import whole


def test_every_claim_has_its_verdict_and_its_section(tmp_path: Path) -> None:
    page = secure_page(whole(tmp_path), "small: two cores", lambda study: f"psreval study {study}")
    assert page.startswith("## Verdict\n")
    links = re.findall(r"\]\(#([a-z0-9-]+)\)", page.partition("## What was run")[0])
    assert links == [claim.key for claim in SECURE_CLAIMS]
    assert all(f'<a id="{link}"></a>' in page for link in links)
    assert "Synthetic data" in page
    assert "under 2 × sign-flip ×10" in page


def test_the_same_cells_give_the_same_page(tmp_path: Path) -> None:
    results = whole(tmp_path)
    assert secure_page(results, "", str) == secure_page(results, "", str)


def test_without_cells_the_page_says_so() -> None:
    assert "No cell is finished." in secure_page([], "", str)
