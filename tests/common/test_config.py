import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import Experiment, load, parse, parse_toml, setting
from common.errors import UserError

ROOT = Path(__file__).parents[2]


def sentence(tree: dict) -> str:
    with pytest.raises(UserError) as caught:
        parse(tree, "x.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(
    rounds=st.integers(1, 100),
    eps=st.floats(0, 1),
    names=st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=4, unique=True),
)
def test_toml_out_and_in_gives_an_equal_description(rounds: int, eps: float, names: list[str]) -> None:
    experiment = parse(
        {"federation": {"rounds": rounds}, "evaluation": {"eps": eps}, "clients": [{"name": name} for name in names]},
        "x",
    )
    again = parse_toml(experiment.to_toml())
    assert again == experiment
    assert again.digest() == experiment.digest()


def test_descriptions_are_frozen() -> None:
    with pytest.raises(ValueError):
        Experiment().seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"fedration": {}}, ["fedration", "unknown key", "did you mean 'federation'"]),
        ({"federation": {"ruonds": 3}}, ["federation.ruonds", "did you mean 'rounds'"]),
        ({"clients": [{"stratgy": "honest"}]}, ["clients.0.stratgy", "did you mean 'strategy'"]),
        ({"evaluation": {"eps": 8}}, ["evaluation.eps = 8", "'8/255'"]),
        ({"clients": [{"adversarial_training": {"step_size": 2}}]}, ["step_size = 2", "'2/255'"]),
        ({"evaluation": {"eps": "8/x"}}, ["evaluation.eps", "fraction"]),
        ({"privacy": {"epsilon": 0}}, ["privacy.epsilon = 0", "greater than 0"]),
        ({"privacy": {"epsilon": -1}}, ["privacy.epsilon = -1", "greater than 0"]),
        ({"privacy": {"delta": 1}}, ["privacy.delta = 1"]),
        ({"clients": []}, ["clients", "at least one"]),
        ({"clients": [{"name": "a"}, {"name": "a"}]}, ["different names"]),
        ({"data": {"partition": [1.0]}}, ["1 sizes for 2 clients"]),
        ({"federation": {"quorum": 3}}, ["quorum = 3", "2 clients"]),
        ({"federation": {"norm_limit": 0}}, ["federation.norm_limit = 0", "greater than 0"]),
        ({"federation": {"join_timeout": -1}}, ["federation.join_timeout = -1", "greater than 0"]),
        ({"federation": {"join_timeout": float("inf")}}, ["federation.join_timeout = inf", "finite"]),
        ({"federation": {"strikes_limit": 0}}, ["federation.strikes_limit = 0", "greater than or equal to 1"]),
        ({"federation": {"update_compression": "int4"}}, ["federation.update_compression = 'int4'", "'int8'"]),
        ({"model": {"width": "wide"}}, ["model.width = 'wide'", "integer"]),
        ({"training": {"optimizer": "sdg"}}, ["training.optimizer = 'sdg'"]),
        ({"evaluation": {"threats": ["whitebox"]}}, ["evaluation.threats", "'whitebox'"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"name": "a b/../c"}, ["name"]),
        ({"name": ".."}, ["name = '..'"]),
        ({"clients": [{"name": ".."}]}, ["clients.0.name = '..'"]),
        ({"evaluation": {"generators": [{"name": "fp32"}]}}, ["cannot be called 'fp32'"]),
    ],
)
def test_a_mistake_is_one_sentence_with_field_value_and_remedy(tree: dict, words: list[str]) -> None:
    said = sentence(tree)
    assert all(word in said for word in words), said


def test_a_missing_file_suggests_its_neighbour() -> None:
    with pytest.raises(UserError, match=r"no file .*demoo.toml; did you mean '.*demo.toml'"):
        load(ROOT / "experiments" / "demoo.toml")


def test_malformed_toml_says_where(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("name = = 3\n")
    with pytest.raises(UserError, match=r"is not valid TOML.*line 1"):
        load(tmp_path / "x.toml")


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="could not be read"):
        load(tmp_path / "x.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("federation.rounds=5", ("federation.rounds", 5)),
        ("privacy.enabled=true", ("privacy.enabled", True)),
        ("evaluation.eps=8/255", ("evaluation.eps", "8/255")),
        ('name="a=b"', ("name", "a=b")),
        ("data.source=npz:x.npz", ("data.source", "npz:x.npz")),
        ("evaluation.attacks=['pgd']", ("evaluation.attacks", ["pgd"])),
    ],
)
def test_set_reads_toml_values_or_plain_text(text: str, expected: tuple) -> None:
    assert setting(text) == expected


def test_set_without_a_value_is_told() -> None:
    with pytest.raises(UserError, match="--set key=value"):
        setting("federation.rounds")


def test_changes_reach_into_lists_and_are_validated() -> None:
    changed = Experiment().change({"clients.1.strategy": "label-flipper", "seed": 9})
    assert changed.clients[1].strategy == "label-flipper"
    assert changed.seed == 9
    with pytest.raises(UserError, match="entries"):
        Experiment().change({"clients.7.strategy": "honest"})
    with pytest.raises(UserError, match="has no keys"):
        Experiment().change({"seed.x": 1})


def test_count_makes_clients_alike_with_names_of_their_own() -> None:
    experiment = parse({"clients": [{"name": "ward", "count": 2}, {"strategy": "label-flipper"}]}, "x")
    assert [client.name for client in experiment.roster()] == ["ward-1", "ward-2", "client-3"]
    assert experiment.quorum() == 2


def test_half_of_the_clients_is_the_quorum_so_one_of_two_cannot_end_a_federation() -> None:
    assert Experiment().quorum() == 1


def test_the_federation_hash_ignores_what_is_asked_of_the_model_afterwards() -> None:
    plain = Experiment()
    harder = plain.change({"evaluation.steps": 50, "name": "other", "thresholds.accuracy": 0.9})
    assert plain.digest() != harder.digest()
    assert plain.digest(federation_only=True) == harder.digest(federation_only=True)
    assert plain.digest(federation_only=True) != plain.change({"seed": 2}).digest(federation_only=True)


def test_the_hash_follows_a_custom_file_s_content_and_not_its_place(tmp_path: Path) -> None:
    digests = []
    for folder, code in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(code)
        (tmp_path / folder / "e.toml").write_text('[[clients]]\nstrategy = "mine.py:Mine"\n')
        digests.append(load(tmp_path / folder / "e.toml").digest())
    assert digests[0] == digests[1] != digests[2]


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('[data]\nsource = "npz:images.npz"\n')
    assert load(tmp_path / "e.toml").data.source == f"npz:{tmp_path / 'images.npz'}"


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("aggregation", "median", "peers.merge"),
        ("aggregation_options", {"beta": 0.1}, "peers.merge_options"),
        ("examples_limit", 100, "peers.records_limit"),
        ("quorum", 2, "whoever answers"),
        ("server_misbehaviour", {"kind": "wrong-mean"}, "clients.misbehaviour"),
    ],
)
def test_what_only_a_server_can_do_is_refused_where_there_is_none(key: str, value: object, instead: str) -> None:
    told = sentence({"protocol": "braintorrent", "federation": {key: value}})
    assert f"federation.{key}" in told
    assert instead in told


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("aggregation", "median", "secure.rule"),
        ("aggregation_options", {"beta": 0.1}, "below secure"),
        ("examples_limit", 100, "no peer counts for more"),
        ("quorum", 2, "whoever answers"),
        ("server_misbehaviour", {"kind": "wrong-mean"}, "clients.misbehaviour"),
    ],
)
def test_what_only_a_server_can_do_is_refused_by_the_secure_protocol(key: str, value: object, instead: str) -> None:
    told = sentence({"protocol": "secure", "federation": {key: value}})
    assert f"federation.{key}" in told
    assert instead in told


def test_an_honest_server_is_not_in_the_description_and_a_cheating_one_makes_another_run() -> None:
    honest, cheating = Experiment(), Experiment().change({"federation.server_misbehaviour": {"kind": "stale"}})
    assert "server_misbehaviour" not in honest.to_toml()
    assert parse_toml(cheating.to_toml()) == cheating
    assert cheating.digest(federation_only=True) != honest.digest(federation_only=True)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"kind": "wrong-sum"}, ["federation.server_misbehaviour.kind", "wrong-mean"]),
        ({"kind": "wrong-mean", "factor": 0}, ["federation.server_misbehaviour.factor = 0", "greater than 0"]),
    ],
)
def test_a_server_cheats_in_ways_that_it_has(tree: dict, words: list[str]) -> None:
    told = sentence({"federation": {"server_misbehaviour": tree}})
    assert all(word in told for word in words)


@pytest.mark.parametrize(
    ("protocol", "section"),
    [("server", "peers"), ("secure", "peers"), ("server", "secure"), ("braintorrent", "secure")],
)
def test_a_section_that_nothing_reads_is_refused(protocol: str, section: str) -> None:
    values = {"peers": {"merge": "median"}, "secure": {"faults": 1}}[section]
    assert f"{section}: protocol = '{protocol}' does not read it" in sentence({"protocol": protocol, section: values})


@pytest.mark.parametrize(
    ("protocol", "kind"), [("braintorrent", "wrong-sum"), ("secure", "version-inflation"), ("secure", "garbage")]
)
def test_a_misbehaviour_belongs_to_a_protocol(protocol: str, kind: str) -> None:
    clients = [{"count": 3}, {"name": "liar", "misbehaviour": {"kind": kind}}]
    assert "is for another protocol" in sentence({"protocol": protocol, "clients": clients})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rule", "trimmed-mean", "needs to sort, about 10⁹ secure comparisons"),
        ("rule", "trimmed-mean", "take 'median', or 'box-clipping'"),
        ("rule", "krum", "'rsa', 'box-clipping', 'norm-bounded-mean', 'fltrust', 'multi-krum' or 'median'"),
        ("norm", 0, "greater than 0"),
        ("norm", -1.0, "greater than 0"),
        ("norm", float("inf"), "finite"),
        ("radius", 0, "greater than 0"),
        ("radius", float("nan"), "finite"),
        ("num_malicious_nodes", -1, "greater than or equal to 0"),
        ("num_malicious_nodes", 1.5, "integer"),
        ("votes", 0, "greater than or equal to 1"),
        ("votes", 17, "less than or equal to 16"),
        ("members", 0, "greater than or equal to 1"),
        ("members", 2.5, "integer"),
    ],
)
def test_the_secure_protocol_refuses_what_no_rule_can_do(key: str, value: object, words: str) -> None:
    told = sentence({"protocol": "secure", "secure": {key: value}})
    assert f"secure.{key} = " in told
    assert words in told


_READ = {
    "rsa": {"step_size": 2.0}, "box-clipping": {"radius": 2.0}, "norm-bounded-mean": {"norm": 2.0}, "fltrust": {},
    "multi-krum": {"norm": 2.0, "num_malicious_nodes": 1}, "median": {"radius": 2.0, "votes": 5},
}  # fmt: skip
_OF_RULES = {"step_size": 3.0, "radius": 3.0, "norm": 3.0, "num_malicious_nodes": 2, "votes": 6}


@pytest.mark.parametrize("rule", _READ)
def test_each_secure_rule_and_its_keys_make_another_run(rule: str) -> None:
    keys = {"rule": rule, "members": 5, "faults": 1, "coalition": 1, **_READ[rule]}
    tree = {"protocol": "secure", "clients": [{"count": 12}], "secure": keys}
    one = parse(tree, "here")
    assert parse_toml(one.to_toml()) == one
    others = [{}, {"members": 7}, *({key: value} for key, value in _OF_RULES.items() if key in _READ[rule])]
    digests = {parse({**tree, "secure": {**keys, **other}}, "here").digest() for other in others}
    assert len(digests) == len(others)


@pytest.mark.parametrize("rule", _READ)
def test_a_key_that_a_secure_rule_does_not_read_is_refused(rule: str) -> None:
    for key, value in _OF_RULES.items():
        if key not in _READ[rule]:
            told = sentence({"protocol": "secure", "clients": [{"count": 12}], "secure": {"rule": rule, key: value}})
            assert f"{key} = {value} is for rule = '" in told
            assert f"'{rule}' does not read it" in told


def test_protocols_leave_each_others_digests_alone() -> None:
    """A key that a protocol does not read is no part of its runs' names."""
    for protocol in ("server", "braintorrent", "secure"):
        tree = parse({"protocol": protocol}, "here")
        assert tree.digest() != parse({"protocol": protocol, "seed": 2}, "here").digest()
    kept = {parse({"protocol": protocol}, "here").digest() for protocol in ("server", "braintorrent", "secure")}
    assert len(kept) == 3


def test_a_denominator_is_the_means_alone() -> None:
    told = sentence({"protocol": "braintorrent", "peers": {"merge": "median", "denominator": "all"}})
    assert "peers.denominator = 'all' is for merge = 'mean'" in told


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.name)
def test_ready_descriptions_are_valid(file: Path) -> None:
    experiment = load(file)
    assert experiment.description
    assert parse_toml(experiment.to_toml()) == experiment


def test_only_what_names_a_file_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('description = "see mine.py:Mine"\n[model]\nname = "mine.py:build"\n')
    experiment = load(tmp_path / "e.toml")
    assert experiment.description == "see mine.py:Mine"
    assert experiment.model.name == f"{tmp_path / 'mine.py'}:build"


def test_a_file_named_on_the_command_line_lies_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.toml").write_text("")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    experiment = load(tmp_path / "e.toml", {"data.source": "npz:x.npz"})
    assert experiment.data.source == f"npz:{tmp_path / 'here' / 'x.npz'}"


def test_the_hash_follows_the_content_of_a_generator_s_description(tmp_path: Path) -> None:
    digests = []
    for folder, text in (("a", "seed = 2"), ("b", "seed = 2"), ("c", "seed = 3")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "other.toml").write_text(text)
        (tmp_path / folder / "e.toml").write_text(
            '[[evaluation.generators]]\nname = "other"\nexperiment = "other.toml"\n'
        )
        digests.append(load(tmp_path / folder / "e.toml").digest())
    assert digests[0] == digests[1] != digests[2]


def test_a_client_s_own_option_called_path_counts_in_the_hash() -> None:
    one, two = (Experiment().change({"clients.0.options": {"path": path}}) for path in ("a", "b"))
    assert one.digest() != two.digest()


def test_nothing_is_limited_or_compressed_unless_a_description_says_so() -> None:
    federation = Experiment().federation
    assert (federation.norm_limit, federation.update_compression) == (None, "none")
    assert (federation.strikes_limit, federation.join_timeout) == (3, 300.0)


def test_what_is_asked_of_the_evaluation_later_leaves_older_hashes_as_they_were() -> None:
    plain = Experiment()
    told = json.loads(plain.model_dump_json(exclude_none=True))["evaluation"]
    assert set(told) & {"seed", "stress_records"} == set()
    for changes in ({"evaluation.seed": 1}, {"evaluation.stress_records": 100}):
        changed = plain.change(changes)
        assert changed.digest() != plain.digest()
        assert changed.digest(federation_only=True) == plain.digest(federation_only=True)


def test_the_evaluation_draws_from_its_own_seed_where_it_has_one() -> None:
    assert Experiment(seed=4).attack_seed() == 4
    assert Experiment(seed=4).change({"evaluation.seed": 0}).attack_seed() == 0


def test_a_roster_is_made_once_and_a_changed_copy_has_its_own() -> None:
    experiment = parse({"clients": [{"count": 3}]}, "x")
    assert experiment.roster() is experiment.roster()
    fewer = experiment.model_copy(update={"clients": experiment.roster()[:2]})
    assert [client.name for client in fewer.roster()] == ["client-1", "client-2"]
    assert len(experiment.roster()) == 3
    assert parse_toml(experiment.to_toml()) == experiment
