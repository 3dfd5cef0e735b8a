import pytest
import torch

from attacks.craft import craft, find, options
from common.errors import UserError

ORDER = {"eps": 8 / 255, "step_size": 2 / 255, "steps": 3, "seed": 1, "queries": 20}


@pytest.fixture
def attack(tmp_path):
    """Write a function to a file and return its name as a user would give it."""

    def write(body, signature="model, images, labels"):
        file = tmp_path / "mine.py"
        file.write_text(f"import torch\nimport numpy as np\ndef go({signature}):\n    {body}\nNUMBER = 3\n")
        return f"{file}:go"

    return write


def run(name, network, images, **changes):
    return craft(name, network(), images, torch.zeros(len(images), dtype=torch.int64), **{**ORDER, **changes})


def test_a_users_attack_gets_what_it_asks_for_and_no_more(attack, network, images):
    name = attack(
        "assert (eps, steps, targeted) == (8 / 255, 3, False)\n    return (images + eps).clamp(0, 1)",
        "model, images, labels, *, eps, steps, targeted=False",
    )
    found = run(name, network, images)
    torch.testing.assert_close(found, (images + 8 / 255).clamp(0, 1))
    assert options(name) == ("eps", "steps")


def test_a_users_attack_may_take_everything(attack, network, images):
    name = attack(
        "assert sorted(given) == ['eps', 'queries', 'seed', 'step_size', 'steps', 'targeted']\n    return images",
        "model, images, labels, **given",
    )
    assert torch.equal(run(name, network, images), images)


def test_a_users_attack_may_use_backward_and_any_generator(attack, network, images):
    name = attack(
        "images.requires_grad_(); model.requires_grad_(True); model.train(); model(images).sum().backward()\n"
        "    return (images + 0.01 * images.grad.sign() * float(np.random.rand())).clamp(0, 1) + 0 * torch.rand(1)"
    )
    model = network()
    before = torch.get_rng_state()
    labels = torch.zeros(len(images), dtype=torch.int64)
    found = craft(name, model, images, labels, **ORDER)
    assert torch.equal(craft(name, model, images, labels, **ORDER), found)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_users_attack_cannot_change_the_callers_images(attack, network, images):
    clean = images.clone()
    with pytest.raises(UserError, match="over the budget"):
        run(attack("return images.mul_(0.5)"), network, images)
    assert torch.equal(images, clean)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return images * float('nan')", "NaN"),
        ("return images[:1]", "shape"),
        ("return images.numpy()", "ndarray"),
        ("return None", "NoneType"),
        ("return (255 * images).to(torch.uint8)", "uint8"),
        ("return (images - 0.5).clamp(0, 1)", "over the budget"),
        ("return images + 8 / 255", "images live in"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_wrong_result_is_refused_by_name(attack, network, images, body, said):
    with pytest.raises(UserError, match=r"mine\.py:go") as caught:
        run(attack(body), network, images)
    assert said in str(caught.value)


def test_an_attack_can_be_interrupted(attack, network, images):
    with pytest.raises(KeyboardInterrupt):
        run(attack("raise KeyboardInterrupt"), network, images)


@pytest.mark.parametrize(
    ("signature", "said"),
    [("model, images", "2 positional"), ("model, images, labels, strength", "'strength'")],
)
def test_a_signature_that_cannot_be_served_is_refused(attack, signature, said):
    with pytest.raises(UserError) as caught:
        find(attack("return images", signature))
    assert said in str(caught.value)


def test_what_is_no_function_is_refused(attack):
    with pytest.raises(UserError, match="not a function"):
        find(attack("return images").replace(":go", ":NUMBER"))


def test_a_target_needs_a_function_that_takes_it(attack, network, images):
    with pytest.raises(UserError, match="which class to reach"):
        run(attack("return images"), network, images, targeted=True)
    run(attack("return images", "model, images, labels, targeted"), network, images, targeted=True)


def test_a_users_attack_may_work_without_gradients(attack, images):
    class Kernels(torch.nn.Module):
        def forward(self, images):
            with torch.no_grad():
                return images.mean(dim=(2, 3))

    name = attack("return (images + eps).clamp(0, 1)", "model, images, labels, eps")
    craft(name, Kernels(), images, torch.zeros(len(images), dtype=torch.int64), **ORDER)
