"""Whatever a strategy returns: either it can be used, or one sentence says what is wrong with it."""

import dataclasses
import math

import pytest
import torch

from clients.honest import Honest, StrategyError
from clients.prepare import prepare, rehearse, send, train
from common.description import AdversarialTraining
from common.errors import UserError
from common.records import Records


def acting(build, method, action, **settings):
    """Return an honest strategy with one method replaced."""

    class Custom(Honest):
        pass

    setattr(Custom, method, lambda self, *arguments: action(*arguments))
    custom = Custom()
    custom.setting = build(**settings).setting
    return custom


def sentence(work):
    with pytest.raises(StrategyError) as told:
        work()
    assert "\n" not in str(told.value)
    return str(told.value)


def raise_error(*arguments):
    raise KeyError("scanner")


def doubled(records, model):
    return Records(torch.cat([records.images] * 2), torch.cat([records.labels] * 2))


BAD_RECORDS = [
    (raise_error, "Custom.prepare raised KeyError: 'scanner'"),
    (lambda records, model: None, "Custom.prepare returned nothing; return common.records.Records"),
    (lambda records, model: (records.images, records.labels), "Custom.prepare returned a tuple"),
    (lambda records, model: records.take(torch.arange(0)), "Custom.prepare returned no records"),
    (
        lambda records, model: Records(records.images[:, :, :5], records.labels),
        "images of shape [1, 5, 6]; return [1, 6, 6]",
    ),
    (lambda records, model: Records(records.images.repeat(1, 3, 1, 1), records.labels), "images of shape [3, 6, 6]"),
    (lambda records, model: Records(records.images.float(), records.labels), "outside [0, 1]; clamp them"),
    (lambda records, model: Records(records.images / 255 * math.nan, records.labels), "outside [0, 1]"),
    (lambda records, model: Records(records.images, records.labels + 3), "labels from 3 to 5; return class numbers"),
    (lambda records, model: Records(records.images, records.labels - 1), "labels from -1 to 1"),
    (
        lambda records, model: Records(records.images, records.labels[:, None, None].expand(-1, 6, 6)),
        "returned masks as labels; return one class an image",
    ),
    (lambda records, model: Records(records.images, records.labels[:3]), "Custom.prepare raised ValueError: labels"),
]


@pytest.mark.parametrize(("action", "told"), BAD_RECORDS)
def test_records_that_cannot_be_trained_on_are_told(action, told, build, model, records):
    custom = acting(build, "prepare", action)
    assert told in sentence(lambda: prepare(custom, records, model))


def test_a_model_changed_while_preparing_is_told(build, model, records):
    def spoil(records, model):
        with torch.no_grad():
            model[0].weight.zero_()
        return records

    assert "prepare changed the model's weights" in sentence(
        lambda: prepare(acting(build, "prepare", spoil), records, model)
    )


def test_more_records_are_welcome_without_privacy_and_refused_with_it(build, model, records):
    assert len(prepare(acting(build, "prepare", doubled), records, model)) == 80
    told = sentence(lambda: prepare(acting(build, "prepare", doubled, private=True), records, model))
    assert "returned 80 records for 40 under differential privacy" in told


def test_fewer_records_are_welcome(build, model, records):
    custom = acting(build, "prepare", lambda records, model: records.take(torch.arange(7)), private=True)
    prepared = prepare(custom, records, model)
    assert len(prepared) == 7
    custom.train(model, prepared)
    assert custom.setting.ledger.entries[0].sampling_rate == 0.2


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (None, "train returned nothing; return a dict of metrics"),
        ([1.0], "train returned a list"),
        ({1: 1.0}, "named a metric 1"),
        ({"loss": "low"}, "returned a str as metric 'loss'"),
        ({"loss": True}, "returned a bool as metric 'loss'"),
        ({"loss": torch.tensor(1.0)}, "returned a Tensor as metric 'loss'"),
        ({"loss": math.nan}, "returned nan as metric 'loss'"),
        ({"loss": math.inf}, "returned inf as metric 'loss'"),
    ],
)
def test_metrics_that_are_no_numbers_are_told(metrics, told, build, model, records):
    custom = acting(build, "train", lambda model, records: metrics)
    assert told in sentence(lambda: train(custom, model, records))


def test_a_training_that_raises_is_told(build, model, records):
    assert "Custom.train raised KeyError" in sentence(
        lambda: train(acting(build, "train", raise_error), model, records)
    )


def test_good_metrics_pass_as_floats(build, model, records):
    assert train(acting(build, "train", lambda model, records: {"seen": 3}), model, records) == {"seen": 3.0}


RECEIVED = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (None, "send returned nothing; return a dict of weights"),
        ({"a": torch.zeros(2, 3)}, "send left out the weights 'b'"),
        ({**RECEIVED, "c": torch.zeros(1)}, "send added the weights 'c'"),
        ({**RECEIVED, "b": [0.0] * 4}, "send returned a list as weights 'b'"),
        ({**RECEIVED, "b": torch.zeros(5)}, "returned weights 'b' as float32 [5]; return float32 [4]"),
        ({**RECEIVED, "b": torch.zeros(4, dtype=torch.float64)}, "as float64 [4]; return float32 [4]"),
        ({**RECEIVED, "a": torch.full((2, 3), math.nan)}, "weights 'a' that are not finite"),
        ({**RECEIVED, "a": torch.full((2, 3), -math.inf)}, "weights 'a' that are not finite"),
    ],
)
def test_weights_that_fit_no_model_are_told(sent, told, build):
    custom = acting(build, "send", lambda update, received: sent)
    assert told in sentence(lambda: send(custom, RECEIVED, RECEIVED))


def test_a_lie_that_has_the_right_shape_passes(build):
    custom = acting(build, "send", lambda update, received: {name: value + 1e6 for name, value in update.items()})
    assert send(custom, RECEIVED, RECEIVED)["b"].tolist() == [1e6] * 4


def test_weights_come_in_the_order_given_and_carry_no_gradient(build):
    def shuffled(update, received):
        return {name: update[name].clone().requires_grad_() for name in reversed(update)}

    got = send(acting(build, "send", shuffled), RECEIVED, RECEIVED)
    assert list(got) == ["a", "b"]
    assert not any(value.requires_grad for value in got.values())


def test_an_update_that_grew_beyond_float_is_told(build):
    huge = {"a": torch.full((2,), 3e38)}
    poisoner = build("update-poisoner", {"factor": 1e6})
    assert "UpdatePoisoner.send returned weights 'a' that are not finite" in sentence(
        lambda: send(poisoner, huge, {"a": torch.zeros(2)})
    )


def test_a_users_mistake_keeps_its_own_sentence(build, model, records):
    def refuse(records, model):
        raise UserError("the archive is locked; unlock it")

    with pytest.raises(UserError, match=r"^the archive is locked; unlock it$"):
        prepare(acting(build, "prepare", refuse), records, model)


def quit_early(*arguments):
    raise SystemExit(3)


CALLS = {
    "prepare": lambda custom, records, model: prepare(custom, records, model),
    "train": lambda custom, records, model: train(custom, model, records),
    "send": lambda custom, records, model: send(custom, RECEIVED, RECEIVED),
}


@pytest.mark.parametrize("method", CALLS)
def test_a_strategy_cannot_end_the_process_but_a_person_can(method, build, model, records):
    told = sentence(lambda: CALLS[method](acting(build, method, quit_early), records, model))
    assert f"Custom.{method} raised SystemExit: 3" in told

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CALLS[method](acting(build, method, interrupt), records, model)


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("kind", [ValueError, UserError, SystemExit])
def test_a_private_client_s_sentence_does_not_quote_an_exception(method, kind, build, model, records):
    def blab(*arguments):
        raise kind("pixel 17 of record 3 is 0.25")

    told = sentence(lambda: CALLS[method](acting(build, method, blab, private=True), records, model))
    assert told == f"strategy Custom.{method} raised {kind.__name__}; the client's own log tells more"


def test_a_private_client_s_sentence_does_not_quote_its_attack(tmp_path, build, model, records):
    file = tmp_path / "mine.py"
    file.write_text("def go(model, images, labels):\n    raise ValueError(f'saw {labels.tolist()}')\n")
    table = AdversarialTraining(attack=f"{file}:go")
    told = sentence(lambda: prepare(build(adversarial_training=table, private=True), records, model))
    assert told.startswith("strategy Honest.adversarial_training raised UserError;")
    assert "saw" not in told


@pytest.mark.parametrize(
    ("strategy", "options", "told"),
    [
        ("label-flipper", {"labels": "target:9"}, "class number from 0 to 2"),
        ("label-flipper", {"source": 3}, "class number from 0 to 2"),
        ("data-poisoner", {"labels": "target:3"}, "class number from 0 to 2"),
        ("data-poisoner", {"attack": "torchattacks:APGDT"}, "at least 4 classes"),
        ("adversarial-training", {"attack": "torchattacks:APGDT"}, "at least 4 classes"),
        ("honest", {}, "at least 4 classes"),
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_a_rehearsal_finds_what_every_round_would_be_refused_for(
    strategy, options, told, private, build, model, records
):
    table = AdversarialTraining(attack="torchattacks:APGDT") if strategy == "honest" else None
    with pytest.raises(UserError) as refused:
        rehearse(build(strategy, options, adversarial_training=table, private=private), records, model)
    assert told in str(refused.value)


def test_a_rehearsal_is_short_and_leaves_no_trace(build, model, records, monkeypatch):
    steps = []
    monkeypatch.setattr("attacks.poison.craft", lambda *args, **how: steps.append(how["steps"]) or args[2] / 255)
    table = AdversarialTraining(fraction=0.25, steps=90)
    strategy = build("data-poisoner", {"steps": 80}, adversarial_training=table, private=True)
    setting = strategy.setting
    rehearse(strategy, records, model)
    assert steps == [1, 1]
    assert strategy.steps == 80
    assert strategy.setting is setting
    assert setting.ledger.entries == ()


def test_the_setting_is_frozen(build):
    with pytest.raises(dataclasses.FrozenInstanceError):
        build().setting.round = 2


def test_adversarial_training_leaves_records_whose_masks_the_strategy_changed(build, records):
    masks = torch.randint(0, 3, (40, 6, 6), generator=torch.Generator().manual_seed(0))

    def spoil(records, model):
        changed = records.labels.clone()
        changed[:20, 2, 2] = (changed[:20, 2, 2] + 1) % 3
        return Records(records.images, changed)

    table = AdversarialTraining(fraction=1.0, steps=1)
    custom = acting(build, "prepare", spoil, adversarial_training=table)
    prepared = prepare(custom, Records(records.images, masks), torch.nn.Conv2d(1, 3, 1))
    moved = (prepared.images != records.images.float() / 255).flatten(1).any(1)
    assert not moved[:20].any()
    assert moved[20:].all()
