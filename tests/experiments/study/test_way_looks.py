from experiments.study.way_looks import method_looks, short


def test_a_method_looks_alike_in_every_figure() -> None:
    few, many = method_looks(["FedAvg", "BrainTorrent"]), method_looks(["alone", "BrainTorrent", "pooled", "FedAvg"])
    assert few["FedAvg"] == many["FedAvg"]
    assert list(many) == ["pooled", "FedAvg", "BrainTorrent", "alone"]


def test_hardened_variants_can_be_told_apart() -> None:
    names = ["FedAvg", *(f"BrainTorrent, {rule}" for rule in "abcdefgh")]
    looks = method_looks(names)
    assert len(set(looks.values())) == len(names)
    assert next(iter(looks)) == "FedAvg"


def test_a_legend_says_what_is_not_as_published() -> None:
    assert [short(name) for name in ("FedAvg", "BrainTorrent", "BrainTorrent, median")] == [
        "FedAvg", "BrainTorrent", "median",
    ]  # fmt: skip
