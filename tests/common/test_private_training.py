"""DP-SGD against a loop over single records in double precision, and the noise by itself."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from common import private_training, progress
from common.description import Privacy, Training
from common.errors import UserError
from common.layer_uses import UnfitError
from common.privacy import Ledger, Plan
from common.private_training import train_privately
from common.records import Records
from common.seeds import derive, numpy_generator
from common.task import loss
from common.training import TrainingError

SGD = Training(batch_size=8, optimizer="sgd", momentum=0, learning_rate=1.0)
PLAN = Plan(
    noise_multiplier=1.0, sampling_rate=0.4, batch_size=8, records=20, steps_per_round=1, clip_norm=0.5,
    accountant="prv", delta=1e-5, epsilon=7.0,
)  # fmt: skip
NOISELESS = dataclasses.replace(PLAN, noise_multiplier=1e-9)


class Scaled(nn.Module):
    """A network with a normalisation buffer, as ours have."""

    def __init__(self, network):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4]).view(1, 1, 1, 1))
        self.network = network

    def forward(self, images):
        return self.network((images - self.mean) / 0.3)


def small_model(seed=0, inplace=False):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.GroupNorm(2, 4), nn.ReLU(inplace), nn.Flatten()
        return Scaled(nn.Sequential(*layers, nn.Linear(4 * 36, 3)))


def some_records(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return Records(images, torch.randint(0, 3, (count,), generator=generator))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def step(model, records=None, training=SGD, privacy=None, plan=PLAN, seed=1, round=1):
    """Train privately and return the change of the weights."""
    before = weights(model)
    records = some_records() if records is None else records
    train_privately(model, records, training, privacy or Privacy(), plan, round=round, seed=seed)
    return weights(model) - before


def clipped_sum(model, records, bound):
    """Sum of clipped gradients, one record at a time, in float64."""
    twin = small_model().double()
    twin.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
    total = torch.zeros_like(weights(twin))
    for image, label in zip(records.images.double() / 255, records.labels, strict=True):
        loss = nn.functional.cross_entropy(twin(image[None]), label[None])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()))])
        total += gradient * min(1.0, bound / gradient.norm().item())
    return total


@pytest.mark.parametrize("clip_norm", [0.01, 0.5, 1.2, 1e6])
def test_clipped_gradient_equals_a_loop_over_single_records(clip_norm):
    model, records = small_model(), some_records()
    expected = -clipped_sum(model, records, clip_norm) / 8
    everyone = dataclasses.replace(PLAN, sampling_rate=1.0, clip_norm=clip_norm, noise_multiplier=1e-12)
    assert torch.allclose(step(model, records, plan=everyone).double(), expected, atol=2e-6, rtol=1e-3)


class Own(nn.Module):
    """A layer that Opacus has no formula for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 144))

    def forward(self, images):
        return images.flatten(1) * self.scale.tanh()


class OneNumber(nn.Module):
    """A layer whose parameter has no dimensions."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return images * self.scale


def test_a_parameter_without_dimensions_is_trained():
    model = small_model()
    model.network.insert(3, OneNumber())
    step(model, plan=dataclasses.replace(PLAN, sampling_rate=1.0))
    assert model.network[3].scale.item() != 2.0


def test_a_layer_of_ones_own_is_clipped_as_well():
    def model():
        network = small_model()
        network.network[3] = Own()
        return network

    records, single = some_records(), []
    for place in range(20):
        twin = model()
        loss = nn.functional.cross_entropy(twin(records.images[place, None] / 255), records.labels[place, None])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()))])
        single.append(gradient * min(1.0, 0.3 / gradient.norm().item()))
    plan = dataclasses.replace(NOISELESS, sampling_rate=1.0, clip_norm=0.3)
    assert torch.allclose(step(model(), records, plan=plan), -torch.stack(single).sum(0) / 8, atol=2e-6)


def test_one_record_moves_the_sum_by_at_most_the_clip_norm():
    records, plan = some_records(), dataclasses.replace(NOISELESS, sampling_rate=1.0)
    with_all = step(small_model(), records, plan=plan)
    for left_out in range(5):
        rest = torch.tensor([i for i in range(20) if i != left_out])
        change = (with_all - step(small_model(), records.take(rest), plan=plan)).norm().item()
        assert change * PLAN.batch_size <= PLAN.clip_norm * (1 + 1e-4)


def overflowing():
    """A network under which a record overflows if, and only if, its first two pixels are bright."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.ReLU(), nn.Linear(1, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[1].weight[0, :2] = 3e38
    return network


def dark_records(bright):
    images = torch.zeros(20, 1, 6, 6, dtype=torch.uint8)
    images[bright, :, 0, :2] = 255
    return Records(images, torch.zeros(20, dtype=torch.int64))


@pytest.mark.parametrize("physical_batch_size", [1, 3, 20])
def test_a_record_that_overflows_counts_as_zero(physical_batch_size):
    plan = dataclasses.replace(NOISELESS, sampling_rate=1.0)
    privacy = Privacy(physical_batch_size=physical_batch_size)
    with_it = step(overflowing(), dark_records([7]), plan=plan, privacy=privacy)
    left_out = torch.tensor([i for i in range(20) if i != 7])
    without = step(overflowing(), dark_records([7]).take(left_out), plan=plan, privacy=privacy)
    assert without.norm() > 0
    assert torch.allclose(with_it, without, atol=1e-6)
    assert step(overflowing(), dark_records(list(range(20))), plan=plan, privacy=privacy).norm() < 1e-6


@pytest.mark.parametrize("bright", [[], [7]])
@pytest.mark.parametrize("secure", [False, True])
def test_a_training_ends_alike_with_and_without_a_record_that_overflows(bright, secure):
    plan = dataclasses.replace(PLAN, steps_per_round=10)
    change = step(overflowing(), dark_records(bright), plan=plan, privacy=Privacy(secure_noise=secure))
    assert change.isfinite().all()


@pytest.mark.parametrize("name", ["mean", "network.4.bias"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_received_weights_that_are_not_finite_are_refused_before_anything_is_spent(name, number):
    model, ledger = small_model(), Ledger()
    model.state_dict()[name].flatten()[0] = number
    with pytest.raises(UserError, match=rf"'{name}' of the received weights is not finite"):
        train_privately(model, some_records(), SGD, Privacy(), PLAN, round=2, seed=1, ledger=ledger)
    assert ledger.entries == ()


class Mixing(nn.Module):
    """A network whose layers see more rows than records, in one of three ways; or the records in another place."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.inner = nn.Linear({"views": 64, "patches": 16, "time": 8}[kind], 5)
        self.outer = nn.Linear({"views": 5, "patches": 5, "time": 5}[kind], 2)

    def forward(self, images):
        count = len(images)
        if self.kind == "views":
            views = torch.cat([images, images.flip(3), images.flip(2), images.flip(2, 3)])
            return self.outer(torch.tanh(self.inner(views.flatten(1)))).view(4, count, -1).mean(0)
        if self.kind == "patches":
            patches = images.unfold(2, 4, 4).unfold(3, 4, 4).reshape(-1, 16)
            return self.outer(torch.tanh(self.inner(patches))).view(count, 4, -1).mean(1)
        return self.outer(torch.tanh(self.inner(images[:, 0].transpose(0, 1))).mean(0))


@pytest.mark.parametrize("kind", ["views", "patches", "time"])
@pytest.mark.parametrize("own", [False, True])
def test_a_model_whose_rows_are_not_the_records_is_refused_before_anything_is_spent(kind, own):
    """Each row would be clipped by itself, and a record's contribution be as many times the clip norm."""
    model, ledger = Mixing(kind), Ledger()
    if own:  # a layer without formula, so that Opacus' hooks are asked
        model.outer = type("Parted", (nn.Linear,), {})(5, 2)
    records = Records(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(UserError, match="none could be clipped record by record; keep the records in the first"):
        train_privately(model, records, SGD, Privacy(), PLAN, round=1, seed=1, ledger=ledger)
    assert ledger.entries == ()
    assert all(not vars(parameter) for parameter in model.parameters())


def test_a_trial_leaves_buffers_as_they_were():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, images):
            self.calls += 1
            return self.linear(images.flatten(1))

    model = Counting()
    records = Records(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    plan = dataclasses.replace(PLAN, steps_per_round=3, sampling_rate=1.0)
    train_privately(model, records, SGD, Privacy(physical_batch_size=64), plan, round=1, seed=1)
    assert float(model.calls) == 3


def test_the_divisor_is_the_expected_batch_not_the_drawn_one():
    records = some_records()
    four, eight = (
        step(small_model(), records, plan=dataclasses.replace(NOISELESS, batch_size=size)) for size in (4, 8)
    )
    assert torch.allclose(four, 2 * eight, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 7, 20, 1000])
@pytest.mark.parametrize("secure", [False, True])
def test_physical_batch_size_changes_memory_not_the_result(at_once, secure, monkeypatch):
    monkeypatch.setattr("secrets.randbits", lambda bits: 12345)
    plan = dataclasses.replace(PLAN, steps_per_round=4, sampling_rate=0.7)
    whole = step(small_model(), plan=plan, privacy=Privacy(secure_noise=secure))
    split = step(small_model(), plan=plan, privacy=Privacy(secure_noise=secure, physical_batch_size=at_once))
    assert torch.allclose(whole, split, atol=1e-5)


def test_every_record_is_drawn_with_the_sampling_rate(monkeypatch):
    drawn = []
    monkeypatch.setattr("common.private_training._clipped_sums", lambda _, index, *rest: drawn.append(index) or {})
    plan = dataclasses.replace(PLAN, steps_per_round=2000, sampling_rate=0.3)
    step(small_model(), plan=plan)
    times = np.bincount(torch.cat(drawn).numpy(), minlength=20)
    sizes = np.array([len(index) for index in drawn])
    assert len(drawn) == 2000
    # Independent draws: five standard deviations about the binomial's mean, and the binomial's variance.
    assert (np.abs(times - 600) < 5 * math.sqrt(2000 * 0.3 * 0.7)).all()
    assert sizes.var() == pytest.approx(20 * 0.3 * 0.7, rel=0.15)


def test_empty_batches_are_steps_of_noise_alone():
    plan = dataclasses.replace(PLAN, sampling_rate=1e-12, steps_per_round=30, clip_norm=2.0, noise_multiplier=3.0)
    model = small_model()
    before = weights(model)
    _, entry = train_privately(model, some_records(), SGD, Privacy(), plan, round=4, seed=1)
    change = (weights(model) - before).numpy()
    assert (entry.round, entry.steps, entry.noise_multiplier, entry.sampling_rate) == (4, 30, 3.0, 1e-12)
    assert change.std() == pytest.approx(math.sqrt(30) * 3.0 * 2.0 / 8, rel=0.1)
    assert stats.kstest(change / (math.sqrt(30) * 0.75), "norm").pvalue > 1e-3


def test_a_step_adds_noise_of_the_stated_size():
    records = some_records()
    quiet = step(small_model(), records, plan=NOISELESS)
    noise = step(small_model(), records, plan=dataclasses.replace(PLAN, noise_multiplier=2.0)) - quiet
    assert noise.std().item() == pytest.approx(2.0 * PLAN.clip_norm / PLAN.batch_size, rel=0.1)


def test_an_attack_that_reseeds_torch_does_not_touch_the_noise():
    outcomes = []
    for outer in (1, 2):
        torch.manual_seed(outer)
        before = torch.get_rng_state()
        outcomes.append(step(small_model(), plan=dataclasses.replace(PLAN, steps_per_round=3)))
        assert torch.get_rng_state().equal(before)
    assert outcomes[0].equal(outcomes[1])


def test_a_model_that_reseeds_torch_at_every_step_does_not_touch_the_noise():
    plan = dataclasses.replace(PLAN, steps_per_round=5)
    calm = step(small_model(), plan=plan)
    reseeding = small_model()
    reseeding.register_forward_pre_hook(lambda *_: torch.manual_seed(0) and None)
    assert step(reseeding, plan=plan).equal(calm)


def test_same_seed_and_weights_repeat_the_release_bit_for_bit():
    outcomes = []
    for _ in range(2):
        model = small_model()
        _, entry = train_privately(model, some_records(), SGD, Privacy(), PLAN, round=1, seed=9)
        outcomes.append((weights(model), entry))
    assert outcomes[0][0].equal(outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert outcomes[0][1].release != ""


def test_other_received_weights_get_other_noise_and_another_release():
    # Else a server could ask twice for one round, with two models, and subtract the noise away.
    plan = dataclasses.replace(PLAN, sampling_rate=1e-12)
    changes, releases = [], set()
    for seed in (0, 1):
        model = small_model(seed)
        before = weights(model)
        _, entry = train_privately(model, some_records(), SGD, Privacy(), plan, round=1, seed=9)
        changes.append((weights(model) - before).numpy())
        releases.add(entry.release)
    assert abs(np.corrcoef(changes[0], changes[1])[0, 1]) < 0.2
    assert len(releases) == 2


def test_secure_noise_never_repeats():
    privacy = Privacy(secure_noise=True)
    outcomes = []
    for _ in range(2):
        model = small_model()
        _, entry = train_privately(model, some_records(), SGD, privacy, PLAN, round=1, seed=9)
        outcomes.append(weights(model))
        assert entry.release == ""
    assert not outcomes[0].equal(outcomes[1])


@pytest.mark.parametrize(("spoil", "error"), [("weights", TrainingError), ("forward", RuntimeError)])
def test_a_training_that_fails_is_in_the_ledger(spoil, error):
    model, ledger, calls = small_model(), Ledger(), []

    def fail(*_):
        calls.append(1)
        if len(calls) > 4:  # not in the trials, nor in the first step
            raise RuntimeError("out of memory")

    if spoil == "forward":
        model.register_forward_pre_hook(fail)
    plan = dataclasses.replace(PLAN, steps_per_round=3, noise_multiplier=1e39 if spoil == "weights" else 1.0)
    with pytest.raises(error):
        train_privately(model, some_records(), SGD, Privacy(), plan, round=2, seed=1, ledger=ledger)
    assert [(entry.round, entry.steps) for entry in ledger.entries] == [(2, 3)]


def test_the_ledger_holds_the_entry_that_is_returned():
    ledger = Ledger()
    _, entry = train_privately(small_model(), some_records(), SGD, Privacy(), PLAN, round=2, seed=1, ledger=ledger)
    assert ledger.entries == (entry,)


def test_sampling_and_noise_are_independent_streams():
    assert numpy_generator(derive(1, "sampling", "x")).random() != numpy_generator(derive(1, "noise", "x")).random()


@pytest.mark.parametrize("inplace", [False, True])
def test_the_model_comes_back_plain(inplace):
    model = small_model(inplace=inplace)
    model.eval()
    names, attributes = set(model.state_dict()), {name: set(vars(m)) for name, m in model.named_modules()}
    step(model, plan=dataclasses.replace(PLAN, steps_per_round=2))
    assert set(model.state_dict()) == names
    assert {name: set(vars(m)) for name, m in model.named_modules()} == attributes
    assert not model.training
    assert model.network[2].inplace is inplace
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    for parameter in model.parameters():
        assert not vars(parameter)
        assert parameter.grad is None


def test_the_model_comes_back_plain_also_after_an_error():
    model = small_model()
    wrong = Records(torch.zeros(20, 3, 6, 6, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(UserError, match="a trial of the model with a batch of 1 ended with RuntimeError"):
        step(model, wrong)
    assert all(not vars(parameter) for parameter in model.parameters())
    assert all(not module._forward_hooks for module in model.modules())


def test_in_place_activations_do_not_change_the_result():
    assert step(small_model(inplace=True)).equal(step(small_model()))


def test_train_and_eval_mode_train_alike():
    evaluating = small_model()
    evaluating.eval()
    assert step(evaluating).equal(step(small_model()))


@pytest.mark.parametrize("optimizer", ["nadam", "adam", "sgd"])
def test_each_optimizer_trains(optimizer):
    training = Training(batch_size=8, optimizer=optimizer, learning_rate=1e-2)
    assert step(small_model(), training=training, plan=dataclasses.replace(PLAN, steps_per_round=3)).norm() > 0


def test_metrics_say_nothing_of_the_records():
    told = [
        train_privately(small_model(), some_records(seed=seed), SGD, Privacy(), PLAN, round=1, seed=1)[0]
        for seed in (1, 2)
    ]
    assert told[0] == told[1] == {"noise-multiplier": 1.0, "private-steps": 1.0, "book-keeping": 1.0}


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)]
)
def test_layers_that_mix_records_are_refused(layer):
    model = small_model()
    model.network[1] = layer
    with pytest.raises(UserError, match=rf"'network\.1' of the model is {type(layer).__name__}.*GroupNorm"):
        step(model)


def test_a_parameter_without_gradient_is_named():
    model = small_model()
    model.idle = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"does not depend on its parameter 'idle\.weight'"):
        step(model, plan=dataclasses.replace(PLAN, sampling_rate=1.0))


def test_more_records_than_planned_are_refused():
    with pytest.raises(UserError, match=r"trains privately on 21 records, but .* planned for 20"):
        step(small_model(), some_records(21))


def test_a_diverged_training_is_not_returned():
    wild = Training(batch_size=8, optimizer="sgd", learning_rate=1e38)
    with pytest.raises(TrainingError, match="not finite"):
        step(small_model(), training=wild, plan=dataclasses.replace(PLAN, noise_multiplier=1e3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains():
    train_privately(small_model(), some_records(), SGD, Privacy(), PLAN, round=1, seed=1, device="cuda")


def test_a_mask_s_gradient_is_clipped_as_one_record():
    """Against a loop over single records, whose loss is cross-entropy plus 1 - soft Dice."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    masks = torch.randint(0, 3, (20, 6, 6), generator=torch.Generator().manual_seed(0))
    records = Records(some_records().images, masks)
    plan = dataclasses.replace(NOISELESS, sampling_rate=1.0, batch_size=20)
    total = torch.zeros_like(weights(network))
    for image, mask in zip(records.images.float() / 255, masks, strict=True):
        gradients = torch.autograd.grad(loss(network(image[None]), mask[None]), list(network.parameters()))
        gradient = torch.cat([one.flatten() for one in gradients])
        total += gradient * min(1.0, plan.clip_norm / gradient.norm().item())
    change = step(network, records, plan=plan)
    torch.testing.assert_close(change, -total / 20, atol=1e-5, rtol=1e-4)


@pytest.fixture
def said():
    sentences = []
    private_training._note_once.cache_clear()
    progress.show_with(None, sentences.append)
    yield sentences
    progress.show_with(None)
    private_training._note_once.cache_clear()


def train_by_opacus(monkeypatch):
    def unfit(*_):
        raise UnfitError("it is to be so")

    monkeypatch.setattr(private_training, "book_keeping_fit", unfit)


@pytest.mark.parametrize("optimizer", ["nadam", "adam", "sgd"])
@pytest.mark.parametrize("physical_batch_size", [3, 128])
def test_both_ways_draw_the_same_records_and_noise_and_end_at_the_same_weights(
    optimizer, physical_batch_size, monkeypatch
):
    training = Training(batch_size=8, optimizer=optimizer, learning_rate=1e-2)
    plan = dataclasses.replace(PLAN, steps_per_round=4)
    privacy = Privacy(physical_batch_size=physical_batch_size)
    arguments = {"training": training, "plan": plan, "privacy": privacy}
    ours = step(small_model(), **arguments)
    train_by_opacus(monkeypatch)
    assert torch.allclose(step(small_model(), **arguments), ours, rtol=0, atol=1e-5 * ours.abs().max().item())


@pytest.mark.parametrize("layer", [Own(), OneNumber()])
def test_a_model_without_formula_goes_by_opacus_and_says_so_once(layer, said):
    for seed in (1, 2):
        model = small_model()
        model.network.insert(3, nn.Flatten() if isinstance(layer, Own) else nn.Identity())
        model.network[4 if isinstance(layer, Own) else 3] = copy.deepcopy(layer)
        metrics, _ = train_privately(model, some_records(), SGD, Privacy(), PLAN, round=1, seed=seed)
        assert metrics["book-keeping"] == 0
    assert len(said) == 1
    assert "goes by Opacus' hooks" in said[0]
    assert f"is a {type(layer).__name__}, for which there is no formula" in said[0]


def test_book_keeping_says_nothing(said):
    metrics, _ = train_privately(small_model(), some_records(), SGD, Privacy(), PLAN, round=1, seed=1)
    assert metrics["book-keeping"] == 1
    assert said == []


def test_the_trial_does_not_touch_what_random_layers_draw(monkeypatch):
    def model():
        network = small_model()
        network.network.insert(4, nn.Dropout(0.5))
        return network

    ours = step(model())
    train_by_opacus(monkeypatch)
    assert torch.allclose(step(model()), ours, atol=1e-5)


def test_gradients_held_at_once_are_limited(monkeypatch):
    sizes = []
    monkeypatch.setattr(private_training, "_GRADIENTS_LIMIT", 200)  # 36 + 4 + 4 + 3 of a record: four records
    original = private_training.add_clipped_gradients

    def add(model, layers, clip_norm, images, labels, sums):
        sizes.append(len(images))
        original(model, layers, clip_norm, images, labels, sums)

    monkeypatch.setattr(private_training, "add_clipped_gradients", add)
    step(small_model(), plan=dataclasses.replace(PLAN, sampling_rate=1.0))
    assert sizes == [4, 4, 4, 4, 4]
