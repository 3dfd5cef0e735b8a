import pytest
import torch
import torchattacks

from attacks.fgsm import fgsm
from attacks.pgd import pgd, random_start

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("started", [False, True])
def test_pgd_is_the_optimum_on_a_linear_model(linear, grey, label, started):
    labels = torch.full((len(grey),), label)
    start = random_start(grey, EPS, generator()) if started else None
    found = pgd(linear, grey, labels, eps=EPS, step_size=STEP, steps=STEPS, start=start)
    towards_one = linear.weight.detach().sign()
    optimum = grey + EPS * (towards_one if label == 0 else -towards_one)
    torch.testing.assert_close(found, optimum, atol=1e-6, rtol=0)


def test_random_start_fills_the_budget(grey):
    start = random_start(torch.zeros(50, 3, 20, 20), EPS, generator())
    assert float(start.abs().max()) <= EPS + 1e-8
    assert float(start.max()) > 0.99 * EPS
    assert float(start.min()) < -0.99 * EPS
    assert abs(float(start.mean())) < 0.01 * EPS


def test_pgd_equals_torchattacks_from_the_same_start(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        start = torch.empty_like(images).uniform_(-EPS, EPS)
        torch.manual_seed(5)
        theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=STEPS)(images, labels)
    ours = pgd(model, images, labels, eps=EPS, step_size=STEP, steps=STEPS, start=start)
    assert float(((ours - theirs).abs() <= 1e-6).float().mean()) >= 0.998
    assert torch.equal(predicted(model, ours), predicted(model, theirs))


def test_one_step_from_the_image_is_fgsm(network, images, predicted):
    model = network()
    labels = predicted(model, images)
    ours = pgd(model, images, labels, eps=EPS, step_size=EPS, steps=1)
    theirs = torchattacks.FGSM(model, eps=EPS)(images, labels)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eps", [1 / 255, 2 / 255, 8 / 255])
@pytest.mark.parametrize("seed", [0, 1])
def test_active_set_fools_at_least_what_full_pgd_fools(network, predicted, eps, seed):
    model = network(seed=seed)
    images = torch.rand(40, 3, 12, 12, generator=generator(seed))
    labels = predicted(model, images)
    start = random_start(images, eps, generator())
    options = {"eps": eps, "step_size": eps / 4, "steps": STEPS, "start": start}
    full = predicted(model, pgd(model, images, labels, **options)) != labels
    active = predicted(model, pgd(model, images, labels, stop_when_fooled=True, **options)) != labels
    assert bool((active | ~full).all())


def test_active_set_does_the_work_of_full_pgd_on_what_resists(linear, grey):
    labels = (linear.score(grey) > 0).long()
    options = {"eps": 1e-4, "step_size": 2e-5, "steps": STEPS}
    resists = ((linear.score(grey).abs() / linear.weight.abs().sum()) > 1e-4).detach()
    assert bool(resists.any())
    full = pgd(linear, grey, labels, **options)
    active = pgd(linear, grey, labels, stop_when_fooled=True, **options)
    torch.testing.assert_close(active[resists], full[resists], atol=1e-7, rtol=0)


def test_active_set_leaves_a_misclassified_image_alone(linear, grey):
    wrong = (linear.score(grey) <= 0).long()
    found = pgd(linear, grey, wrong, eps=EPS, step_size=STEP, steps=STEPS, stop_when_fooled=True)
    assert torch.equal(found, grey)


def test_active_set_spends_fewer_forwards(network, predicted):
    model = network()
    images = torch.rand(20, 3, 12, 12, generator=generator())
    labels = predicted(model, images)
    seen = []
    handle = model.register_forward_hook(lambda module, given, output: seen.append(len(given[0])))
    pgd(model, images, labels, eps=EPS, step_size=STEP, steps=STEPS, stop_when_fooled=True)
    handle.remove()
    assert sum(seen) < len(images) * STEPS


def test_targeted_active_set_stops_at_the_target(linear, grey):
    target = (linear.score(grey) <= 0).long()
    found = pgd(linear, grey, target, eps=0.2, step_size=0.02, steps=20, targeted=True, stop_when_fooled=True)
    assert torch.equal((linear.score(found) > 0).long(), target)


def test_fooled_by_decides_who_must_be_fooled(network, predicted):
    model, judge = network(seed=0), network(seed=1)
    images = torch.rand(40, 3, 12, 12, generator=generator())
    labels = predicted(judge, images)
    options = {"eps": EPS, "step_size": STEP, "steps": STEPS}
    full = predicted(judge, pgd(model, images, labels, **options)) != labels
    asked = predicted(judge, pgd(model, images, labels, stop_when_fooled=True, fooled_by=judge, **options)) != labels
    assert bool((asked | ~full).all())
    itself = pgd(model, images, labels, stop_when_fooled=True, fooled_by=model, **options)
    assert torch.equal(itself, pgd(model, images, labels, stop_when_fooled=True, **options))


def test_pgd_and_fgsm_darken_bright_pixels_and_brighten_dark_ones(bright, grey):
    masks = (grey.sum(1) > 1.5).long()
    optimum = grey + EPS * torch.where(masks == 1, -1.0, 1.0)[:, None]
    for found in (
        pgd(bright, grey, masks, eps=EPS, step_size=STEP, steps=STEPS, start=random_start(grey, EPS, generator())),
        fgsm(bright, grey, masks, eps=EPS),
        fgsm(bright, grey, 1 - masks, eps=EPS, targeted=True),
    ):
        torch.testing.assert_close(found, optimum, atol=1e-6, rtol=0)


@pytest.fixture
def fragile(network):
    """A network that small changes fool, and one near enough that the same changes fool it, or some of them."""
    model, near = network(seed=4), network(seed=4)
    with torch.no_grad():
        for number, parameter in enumerate(near.parameters()):
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=generator(number)))
    return model, near


def plain_pgd(model, image, label, start, steps, targeted, stop, judge):
    """One image, as the papers have it: the oracle of the batches."""

    def fooled(changed):
        return bool((judge(changed[None]).argmax(1) == label) == targeted)

    low, high = (image - EPS).clamp(min=0), (image + EPS).clamp(max=1)
    if stop and fooled(image):
        return image
    current = torch.min(torch.max(image + start, low), high)
    for _ in range(steps):
        if stop and fooled(current):
            return current
        asked = current.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(asked[None]), label[None])
        (gradient,) = torch.autograd.grad(-loss if targeted else loss, asked)
        current = torch.min(torch.max(current + STEP * gradient.sign(), low), high)
    return current


@pytest.mark.parametrize("number", [0, 1, 5, 23])
@pytest.mark.parametrize("size", [1, 4, 23, 64, None])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("stop", [False, True])
def test_full_batches_change_no_image(fragile, predicted, number, size, targeted, other, stop):
    model, judge = fragile if other else fragile[:1] * 2
    images = torch.rand(number, 3, 12, 12, generator=generator(7))
    labels = predicted(judge, images)
    labels[::4] = (labels[::4] + 1) % 4
    start = random_start(images, EPS, generator(8))
    found = pgd(
        model, images, labels, eps=EPS, step_size=STEP, steps=4, start=start, targeted=targeted,
        stop_when_fooled=stop, fooled_by=judge if other else None, batch_size=size,
    )  # fmt: skip
    assert found.shape == images.shape
    for place in range(number):
        alone = plain_pgd(model, images[place], labels[place], start[place], 4, targeted, stop, judge)
        # A gradient of almost zero may have either sign, and costs twice a step where it has the other.
        assert float(((found[place] - alone).abs() <= 1e-6).float().mean()) >= 0.99


@pytest.mark.parametrize("size", [2, 5, 8, None])
def test_masks_take_all_steps_in_any_batch(bright, grey, size):
    masks = (grey.sum(1) > 1.5).long()
    whole = pgd(bright, grey, masks, eps=EPS, step_size=STEP, steps=2)
    assert torch.equal(pgd(bright, grey, masks, eps=EPS, step_size=STEP, steps=2, batch_size=size), whole)


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("eps", [1e-6, EPS, 4 * EPS])
def test_work_is_spent_on_who_resists_in_full_batches(fragile, predicted, eps, other):
    model, judge = fragile if other else fragile[:1] * 2
    images = torch.rand(60, 3, 12, 12, generator=generator(7))
    labels = predicted(judge, images)
    asked, graded = [], []

    def seen(module, given, output):
        (graded if given[0].requires_grad else asked).append(len(given[0]))

    handles = [one.register_forward_hook(seen) for one in {model, judge}]
    options = {"eps": eps, "step_size": eps / 4, "steps": STEPS, "stop_when_fooled": True, "batch_size": 8}
    found = pgd(model, images, labels, fooled_by=judge if other else None, **options)
    for handle in handles:
        handle.remove()
    took = steps_taken(model, judge, images, labels, eps)
    fooled = int((predicted(judge, found) != labels).sum())
    assert fooled >= (0 if eps < EPS else 50)
    assert 0 not in graded + asked
    assert asked[:8] == [8, 8, 8, 8, 8, 8, 8, 4]  # as they are
    in_vain = sum(graded) - sum(took)
    most_at_once = eps > EPS  # by the first step
    assert 0 <= in_vain <= (0 if other else 12 if most_at_once else fooled)
    assert len(graded) <= sum(took) / 8 + 3 * STEPS + (0 if other else 8)
    if not other:
        assert sum(asked) == 60 if eps < EPS else sum(asked) <= 60 + sum(took) + fooled


def steps_taken(model, judge, images, labels, eps):
    """Return how many steps each image takes until it fools the judge, one by one."""
    took = []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        current, count = image, 0
        while count < STEPS and int(judge(current).argmax(1)) == int(label):
            current = pgd(model, image, label, eps=eps, step_size=eps / 4, steps=count + 1)
            count += 1
        took.append(count)
    return took


@pytest.mark.parametrize("eps", [EPS / 2, EPS, 2 * EPS])
def test_nobody_whom_torchattacks_fools_is_missed(network, predicted, eps):
    model = network(seed=0)
    images = torch.rand(50, 3, 12, 12, generator=generator(4))
    labels = predicted(model, images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        start = torch.empty_like(images).uniform_(-eps, eps)
        torch.manual_seed(5)
        theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=STEPS)(images, labels)
    ours = pgd(
        model, images, labels, eps=eps, step_size=eps / 4, steps=STEPS, start=start, stop_when_fooled=True, batch_size=7
    )
    fooled = predicted(model, ours) != labels
    assert bool((fooled | ~(predicted(model, theirs) != labels)).all())
    assert bool(fooled.any())
