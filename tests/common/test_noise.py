"""The noise by itself."""

import numpy as np
import pytest
import torch
from scipy import stats

from common.noise import Noise, own_generator
from common.seeds import numpy_generator


def test_noise_differs_from_draw_to_draw():
    noise = Noise(7, secure=False)
    draws = [noise.like(torch.zeros(5000), 1.0).numpy() for _ in range(3)]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[first], draws[second])[0, 1]) < 0.07


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_noise_is_normal(secure, kind):
    noise = Noise(7, secure=secure).like(torch.zeros(100, 200, dtype=kind), 2.5)
    assert noise.shape == (100, 200)
    assert noise.dtype == kind
    assert stats.kstest(noise.flatten().numpy() / 2.5, "norm").pvalue > 1e-4


def test_noise_heeds_all_bits_of_its_seed():
    zeros = torch.zeros(10)
    assert not Noise(5, secure=False).like(zeros, 1.0).equal(Noise(5 + 2**32, secure=False).like(zeros, 1.0))


def test_noise_is_what_numpy_draws_from_the_seed():
    """Stored runs repeat bit for bit, so the draws may never change."""
    drawn = numpy_generator(7)
    noise = Noise(7, secure=False)
    for shape in ((3, 4), (5,), ()):
        expected = torch.from_numpy(drawn.standard_normal(shape, dtype=np.float32)).mul(2.5)
        assert noise.like(torch.zeros(shape), 2.5).equal(expected)


def test_secure_noise_is_half_the_sum_of_four_draws(monkeypatch):
    monkeypatch.setattr("secrets.randbits", lambda bits: 12345)
    drawn = np.random.default_rng(12345)
    four = [drawn.standard_normal(6) for _ in range(4)]
    expected = ((four[0] + four[1]) + four[2] + four[3]) * (2.5 / 2)
    assert Noise(7, secure=True).like(torch.zeros(6), 2.5).equal(torch.from_numpy(expected).float())


def test_a_secure_generator_does_not_heed_the_seed():
    assert own_generator(7, True).random() != own_generator(7, True).random()
    assert own_generator(7, False).random() == own_generator(7, False).random()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_noise_is_normal_and_heeds_its_seed():
    draws = [Noise(seed, secure=False, device="cuda").like(torch.zeros(20_000, device="cuda"), 1.0) for seed in (1, 2)]
    assert stats.kstest(draws[0].cpu().numpy(), "norm").pvalue > 1e-4
    assert not draws[0].equal(draws[1])
