"""From noise to ε and back: what a history of DP-SGD steps has spent, and the noise that a budget asks for.

Unit: one record. Neighbours: the data with that record's place filled or empty (add/remove). Mechanism: the
Poisson-subsampled Gaussian, once a step. Accountants: Opacus' PRV (Gopi et al. 2021, arXiv 2106.02848; numerical, an
upper bound within its stated error) and RDP (Mironov et al. 2019, arXiv 1908.10530; looser).
"""

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError

History = tuple[tuple[float, float, int], ...]
"""(noise multiplier, sampling rate, steps) for each setting used."""

LEAST_NOISE, MOST_NOISE = 0.1, 1e4
"""Noise multipliers between which a budget is searched: below, nothing is protected; above, nothing is learnt."""

_ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *map(float, range(11, 64)), 80.0, 128.0, 192.0, 256.0, 512.0)
"""Rényi orders; the large ones are what small ε needs."""
_FEW_ORDERS = (*_ORDERS[4:99:12], *_ORDERS[99::8], _ORDERS[-1])
_ERROR = 0.002
"""PRV's error in ε, as a share of ε; it is added, so that the answer stays an upper bound."""
_LEAST_ERROR = 3e-4
_LARGEST_MESH = 2**22
_NUMERICAL_LIMIT = 50.0
"""Beyond this ε PRV's mesh overflows or takes minutes, and the difference tells nobody anything: RDP's bound stands."""
_SETTINGS_LIMIT = 16
_TOLERANCE = 0.001
"""Calibration may leave this share of ε unused."""


def merged(history: History) -> History:
    """Return the history with equal settings counted together, in a fixed order."""
    steps: dict[tuple[float, float], int] = {}
    for noise_multiplier, sampling_rate, count in history:
        steps[noise_multiplier, sampling_rate] = steps.get((noise_multiplier, sampling_rate), 0) + count
    return tuple((noise, rate, count) for (noise, rate), count in sorted(steps.items()) if count > 0 and rate > 0)


def epsilon_of(history: History, accountant: str, delta: float) -> float:
    """Return the ε that holds with this δ after these steps; 0.0 for no steps, inf where no finite ε holds.

    ``accountant`` is ``"prv"`` or ``"rdp"``. Where PRV cannot compute (tiny noise, dozens of different settings),
    RDP's bound is returned: larger, and just as true.
    """
    return _epsilon(merged(history), accountant, delta)


@functools.lru_cache(maxsize=4096)
def _epsilon(history: History, accountant: str, delta: float) -> float:
    if not history:
        return 0.0
    bound = _rdp_epsilon(history, delta)
    if accountant == "rdp" or bound > _NUMERICAL_LIMIT or len(history) > _SETTINGS_LIMIT:
        return bound
    value = min(bound, _prv_epsilon(history, delta, bound))
    # For few steps RDP is several times too high, and so was the error that PRV was allowed.
    return value if value > bound / 2 else min(value, _prv_epsilon(history, delta, value))


def _rdp_epsilon(history: History, delta: float, orders_used: tuple[float, ...] = _ORDERS) -> float:
    orders = np.array(orders_used)
    spent = np.zeros(len(orders))
    for noise, rate, steps in history:
        spent = spent + steps * _rdp(noise, rate, orders_used)
    # Balle et al. 2020 (arXiv 1905.09982), theorem 21.
    epsilons = spent - (math.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    finite = epsilons[np.isfinite(epsilons)]
    return max(0.0, float(finite.min())) if len(finite) else math.inf


@functools.lru_cache(maxsize=4096)
def _rdp(noise_multiplier: float, sampling_rate: float, orders: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the Rényi divergence of one step at each order; inf where it cannot be computed."""
    from opacus.accountants.analysis.rdp import compute_rdp  # here and not above: the import takes a second

    divergence = np.full(len(orders), np.inf)
    with np.errstate(all="ignore"):
        for place, order in enumerate(orders):
            # The series for fractional orders breaks down in double precision for tiny noise.
            try:
                value = compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=order)
            except (ValueError, OverflowError, ZeroDivisionError):
                continue
            if math.isfinite(value) and value >= 0:
                divergence[place] = value
    return divergence


def _prv_epsilon(history: History, delta: float, about: float) -> float:
    """Return PRV's upper bound on ε, which is ``about`` so large; inf where it cannot be computed."""
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = list(history)
    delta_error = delta / 1000
    steps = sum(count for _, _, count in history)
    reach = 2 * (_rdp_epsilon(history, delta_error / 4) + 3)
    smallest_error = reach * math.sqrt(steps * math.log(12 / delta_error) / 2) / _LARGEST_MESH
    error = max(_ERROR * about, _LEAST_ERROR, smallest_error)
    for attempt in (error, 3 * error):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = float(accountant.get_epsilon(delta, eps_error=attempt, delta_error=delta_error))
        except (RuntimeError, ValueError, FloatingPointError, IndexError):
            continue
        if math.isfinite(value):
            return max(0.0, value)
    return math.inf


@functools.lru_cache(maxsize=256)
def noise_for(epsilon: float, delta: float, sampling_rate: float, steps: int, accountant: str) -> float:
    """Return the least noise multiplier with which ``steps`` steps spend at most ``epsilon`` (to 0.1 % of it).

    Never below ``LEAST_NOISE``: a laxer budget is then simply not used up. Cached, since equal clients ask the same.

    Raises:
        UserError: not even ``MOST_NOISE`` keeps within the budget.
    """

    def spent(noise_multiplier: float) -> float:
        return epsilon_of(((noise_multiplier, sampling_rate, steps),), accountant, delta)

    noise = _rough_noise(epsilon, delta, sampling_rate, steps)
    if noise >= MOST_NOISE and spent(MOST_NOISE) > epsilon:
        raise UserError(
            f"privacy.epsilon = {epsilon:g} cannot hold over {steps} steps at δ = {delta:g} and sampling rate "
            f"{sampling_rate:.4g}: noise of {MOST_NOISE:g} times the clip norm still spends "
            f"ε = {spent(MOST_NOISE):.3g}; raise privacy.epsilon, or lower training.local_epochs, "
            "training.batch_size or federation.rounds"
        )
    return _solve(spent, epsilon, noise)


def _rough_noise(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Return a first guess from RDP at a few orders: never below what is needed, at most a third above it."""
    low, high = LEAST_NOISE, MOST_NOISE
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        if _rdp_epsilon(((middle, sampling_rate, steps),), delta, _FEW_ORDERS) <= epsilon:
            high = middle
        else:
            low = middle
    return low if low == LEAST_NOISE else high


def _solve(spent: Callable[[float], float], epsilon: float, noise: float) -> float:
    """Return the noise that spends ``epsilon``, or at most 0.1 % less, starting from a guess.

    ε falls almost as a power of the noise, so the secant rule on logarithms needs three or four evaluations of the
    accountant; bisection takes over if it has not converged after a few.
    """
    low, high, before, power = LEAST_NOISE, MOST_NOISE, None, 1.5
    for attempt in range(60):
        value = spent(noise)
        if value <= epsilon and (value >= (1 - _TOLERANCE) * epsilon or noise <= LEAST_NOISE):
            return noise
        low, high = (low, noise) if value <= epsilon else (noise, high)
        if high / low < 1 + 1e-6:
            break
        if 0 < value < math.inf:
            if before is not None and before[1] != value:
                power = math.log(before[1] / value) / math.log(noise / before[0])
            before = noise, value
            aim = noise * (value / epsilon / (1 - _TOLERANCE / 2)) ** (1 / min(max(power, 0.2), 20.0))
        noise = aim if 0 < value < math.inf and attempt < 10 and low < aim < high else math.sqrt(low * high)
    return high
