# SPDX-License-Identifier: Apache-2.0
"""The sampler behind `aeb.regression` against numpy: the posterior of a small regression by adding
up all its models.

Statistical tests allow five standard errors. Mutations that fail here: the sign of the determinant
or of the misfit in D, v1 missing in t, one degree of freedom more, stays not weighed, a draw at the
last flip alone, an update of P, q, s or R left out, the slab's variance not scaled by sigma^2, the
misfit of another model behind beta if included, the square of the mean alone in the slab's target.
With a spike that is no point: v1 for v1 - v0 in t, in D, in c or in the misfit behind beta if
included, v0 left out of P or of the draws, the half missing in U. In an exchange: the column that
leaves is always the first, or does not come back, or the tilt is left out.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.linear.support import (
    Hyper,
    Information,
    Problem,
    Totals,
    ask,
    block,
    exchange,
    flip,
    information,
    learn,
    refresh,
    start,
    stretched,
)
from aeb.stochastic_approximation import approximate

N, P, NU, LAM, V1, DELTA = 9, 5, 1.5, 0.3, 0.4, 0.3
REST, DEGREES = NU * LAM, N - 1 + NU
SPIKES = (0.0, 0.1)
"""v0."""


def numbers():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N, P))
    x[:, 1] += x[:, 0]
    return x, x[:, 0] + rng.normal(size=N)


def adapted(problem, hyper, chains, totals, omega, omega_v0=0.0):
    """The chains with moved latents, refreshed."""
    told = ask(lambda chain: information(problem, chain), chains, omega_v0)
    moved = learn(hyper, chains, totals, told, omega, omega_v0)
    return jax.vmap(lambda chain: refresh(problem, chain))(moved)


# Operation by operation they would compile for longer than they run.
begin, one_flip = jax.jit(start), jax.jit(flip)


@pytest.fixture
def problem(x64):
    x, y = numbers()
    return Problem(*(jnp.asarray(part) for part in (x, y, REST, DEGREES)))


def log_evidence(x, y, chosen, v1=V1, delta=DELTA, v0=0.0):
    """log p(y, gamma) up to a constant, by the density of a multivariate t."""
    gram = np.eye(len(y)) + x @ np.diag(np.where(chosen, v1, v0)) @ x.T
    misfit = y @ np.linalg.solve(gram, y) + REST
    prior = np.sum(np.where(chosen, np.log(delta), np.log1p(-delta)))
    return prior - 0.5 * np.linalg.slogdet(gram)[1] - 0.5 * DEGREES * np.log(misfit)


def moments(x, y, chosen, v1=V1, v0=0.0):
    """Mean of beta, its covariance over sigma^2, and the misfit; 0 where a spike is a point."""
    places = np.flatnonzero(chosen | (v0 > 0))
    part, prior = x[:, places], np.where(chosen, v1, v0)[places]
    covariance = np.linalg.inv(np.diag(1 / prior) + part.T @ part)
    mean = covariance @ part.T @ y
    full, spread = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
    full[places], spread[np.ix_(places, places)] = mean, covariance
    return full, spread, y @ y - y @ part @ mean + REST


def models():
    return [np.array(bits) for bits in itertools.product([False, True], repeat=P)]


def posterior(x, y, **settings):
    """All models, and their probabilities."""
    logs = np.array([log_evidence(x, y, chosen, **settings) for chosen in models()])
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


@pytest.mark.parametrize("v0", SPIKES)
def test_rates_are_those_of_the_full_conditionals(problem, v0):
    x, y = numbers()
    for chosen in models():
        chain = begin(problem, jnp.asarray(chosen), DELTA, jnp.asarray(V1), v0)
        _, stayed = one_flip(problem, chain, jax.random.key(0))
        rho = np.asarray(stayed.rho / stayed.time)
        rates = np.zeros(P)
        for j in range(P):
            other = chosen ^ (np.arange(P) == j)
            odds = log_evidence(x, y, other, v0=v0) - log_evidence(x, y, chosen, v0=v0)
            rates[j] = 1 / (1 + np.exp(-odds))
        np.testing.assert_allclose(rho, np.where(chosen, 1 - rates, rates), rtol=1e-4)
        assert float(stayed.time) == pytest.approx(1 / rates.sum(), rel=1e-4)
        mean, covariance, misfit = moments(x, y, chosen, v0=v0)
        variance = misfit / DEGREES
        square = np.sum(mean[chosen] ** 2) / variance + np.trace(covariance[np.ix_(chosen, chosen)])
        assert float(stayed.square / stayed.time) == pytest.approx(square, rel=1e-5)
        assert float(stayed.size / stayed.time) == pytest.approx(chosen.sum())
        for j in range(P):
            own = np.arange(P) == j
            want = rho[j] * moments(x, y, chosen | own, v0=v0)[0][j]
            assert float(stayed.beta[j] / stayed.time) == pytest.approx(want, rel=1e-4)
            want = (1 - rho[j]) * moments(x, y, chosen & ~own, v0=v0)[0][j]
            assert float(stayed.small[j] / stayed.time) == pytest.approx(want, rel=1e-4)
        if v0:
            ends = [log_evidence(x, y, chosen, v0=v0 + change) for change in (1e-5, -1e-5)]
            slope = float(stayed.slope / stayed.time)
            assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("v0", SPIKES)
def test_many_flips_end_where_a_refresh_does(problem, v0):
    chain = begin(problem, jnp.zeros(P, bool), DELTA, jnp.asarray(V1), v0)
    sizes = set()
    for key in jax.random.split(jax.random.key(1), 60):
        chain, _ = one_flip(problem, chain, key)
        sizes.add(int(chain.included.sum()))
    assert len(sizes) >= 4
    for got, want in zip(chain, refresh(problem, chain), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


advance = jax.jit(jax.vmap(lambda *own: block(*own, flips=10), in_axes=(None, 0, 0, 0)))


@pytest.fixture(params=SPIKES)
def run(problem, request):
    """v0, and blocks of 64 chains, ten flips a draw, as numpy; each starts at its own model."""
    chains, draws = 64, 400
    rng = np.random.default_rng(0)
    starts = jnp.asarray(rng.random((chains, P)) < 0.5)
    chain = jax.vmap(lambda own: start(problem, own, DELTA, jnp.asarray(V1), request.param))(starts)
    chi = jnp.asarray(rng.gamma(DEGREES / 2, size=(chains, draws)))
    keys = jax.random.split(jax.random.key(3), chains)
    return request.param, *jax.device_get(advance(problem, chain, keys, chi))


def test_an_exchange_keeps_the_law_of_all_models(problem):
    """From each model, 2,000 exchanges against the probabilities worked out by hand."""
    x, y = numbers()
    v0, count = SPIKES[1], 2000
    tilt, odds = np.array([[0.0, 1.0, -0.5, 0.3, 0.0], [0.2, -0.4, 0.0, 0.6, 0.0]])
    tilted = problem._replace(tilt=jnp.asarray(tilt), log_odds=jnp.asarray(odds))

    def begun(chosen):
        return start(tilted, chosen, DELTA, jnp.asarray(V1), v0)

    def from_all(keys):
        chains = jax.vmap(begun)(jnp.asarray(np.array(models())))
        one = jax.vmap(exchange, in_axes=(None, None, 0))
        after = jax.vmap(one, in_axes=(None, 0, 0))(tilted, chains, keys)
        return after, jax.vmap(jax.vmap(begun))(after.included)

    after, fresh = jax.jit(from_all)(jax.random.split(jax.random.key(1), (2**P, count)))
    for part, own in zip(after, fresh, strict=True):
        np.testing.assert_allclose(part, own, rtol=1e-9, atol=1e-12)
    logs = [log_evidence(x, y, own, v0=v0) + own @ (tilt + odds) for own in models()]
    law = np.exp(np.array(logs) - max(logs))
    for chosen, became in zip(models(), np.asarray(after.included), strict=True):
        want = np.zeros(len(law))
        for i in np.flatnonzero(chosen):
            rest = chosen & (np.arange(P) != i)
            moved = [number(rest | (np.arange(P) == j)) for j in np.flatnonzero(~rest)]
            want[moved] += law[moved] / law[moved].sum() / chosen.sum()
        want[0] += 1.0 - want.sum()  # the empty model stays
        told = np.bincount([number(own) for own in became], minlength=len(law)) / count
        error = np.sqrt(np.maximum(want * (1 - want), 0.0) / count)
        assert np.all(np.abs(told - want) <= 5 * error + 1e-9)


def test_steep_columns_take_no_part_in_an_exchange(problem):
    """Column 0 is so long that P would lose its digits: it stays in, and it does not come in.

    Mutations: no limit on the member that leaves, none on the column that comes in.
    """
    scale = jnp.array([[1e3, 1.0, 1.0, 1.0, 1.0]])
    steep = problem._replace(x=problem.x * scale)
    sets = jnp.array([[True, False, False, False, False], [False, True, False, False, False]])
    chains = jax.vmap(lambda own: start(steep, own, DELTA, jnp.asarray(V1)))(sets)
    one = jax.vmap(exchange, in_axes=(None, None, 0))
    many = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))
    keys = jax.random.split(jax.random.key(0), (2, 200))
    included = np.asarray(many(steep, chains, keys).included)
    assert included[0, :, 0].all()
    assert not included[0, :, 1:].any()
    assert not included[1, :, 0].any()
    assert included[1, :, 2:].any()


def number(chosen):
    """The place of a model in the list of all."""
    return int("".join(str(int(bit)) for bit in chosen), 2)


def ratio(tops, bottoms):
    """Ratio of means over chains, and its standard error."""
    mean = tops.mean(axis=0) / bottoms.mean()
    residual = tops - mean * bottoms.reshape(-1, *[1] * (tops.ndim - 1))
    return mean, residual.std(axis=0, ddof=1) / len(tops) ** 0.5 / bottoms.mean()


def test_averages_over_time_are_those_over_all_models(run):
    x, y = numbers()
    v0, _, totals, snapshots = run
    weights = posterior(x, y, v0=v0)
    inclusion = weights @ np.array(models())
    means = np.zeros(P)
    for w, chosen in zip(weights, models(), strict=True):
        means += w * moments(x, y, chosen, v0=v0)[0]
    assert 0.1 < inclusion.min() < 0.6 < inclusion.max() < 0.99
    for got, want in ((totals.rho, inclusion), (totals.beta + totals.small, means)):
        mean, error = ratio(got, totals.time)
        assert np.all(np.abs(mean - want) < 5 * error)
        assert np.all(error < 0.02)
    # And so are those over the draws, by their weights.
    time = snapshots.time
    assert np.mean(snapshots.included == (snapshots.beta != 0)) == 1 or v0
    included = np.einsum("cd,cdp->cp", time, snapshots.included)
    mean, error = ratio(included, time.sum(axis=1))
    assert np.all(np.abs(mean - inclusion) < 5 * error)
    mean, error = ratio(np.einsum("cd,cdp->cp", time, snapshots.beta), time.sum(axis=1))
    assert np.all(np.abs(mean - means) < 5 * error)
    assert np.all(error < 0.02)


@pytest.mark.parametrize("v0", SPIKES)
@pytest.mark.parametrize(
    "chosen", [[True, False, True, False, False], [False, True, True, True, False]]
)
def test_draws_have_the_moments_of_their_model(problem, chosen, v0):
    """At one model, whose beta given sigma is normal and whose sigma^2 is inverse gamma; the first
    has the column that matters, and the second would gain by it."""
    x, y = numbers()
    chosen = np.array(chosen)
    mean, covariance, misfit = moments(x, y, chosen, v0=v0)
    moves = chosen | (v0 > 0)
    # With one flip a draw, all are made before it.
    chain = begin(problem, jnp.asarray(chosen), DELTA, jnp.asarray(V1), v0)
    draws = 100_000
    chi = np.random.default_rng(1).gamma(DEGREES / 2, size=draws)
    keys = jax.random.split(jax.random.key(5), draws)
    snapshots = jax.jit(
        jax.vmap(lambda key, chi: block(problem, chain, key, chi[None], flips=1)[2])
    )(keys, jnp.asarray(chi))
    beta, sigma, given = (
        np.asarray(part, np.float64)[:, 0]
        for part in (snapshots.beta, snapshots.sigma, snapshots.beta_if_included)
    )
    assert not beta[:, ~moves].any()
    np.testing.assert_allclose(sigma**2, misfit / 2 / chi, rtol=1e-6)
    scaled = (beta[:, moves] - mean[moves]) / sigma[:, None]
    root = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(moves, moves)]))
    white = scaled @ root
    assert np.all(np.abs(white.mean(axis=0)) < 5 / draws**0.5)
    off = white.T @ white / draws - np.eye(len(root))
    assert np.all(np.abs(off) < 5 * np.sqrt(1 + np.eye(len(root))) / draws**0.5)
    for j in range(P):
        with_j = chosen | (np.arange(P) == j)
        mean_j, covariance_j, misfit_j = moments(x, y, with_j, v0=v0)
        z = (given[:, j] - mean_j[j]) / np.sqrt(covariance_j[j, j] * misfit_j / 2 / chi)
        assert abs(z.mean()) < 5 / draws**0.5
        assert abs(z.var() - 1) < 5 * (2 / draws) ** 0.5


@pytest.mark.slow
def test_delta_and_v1_settle_where_their_equations_hold(problem):
    """The fixed point of both targets, by adding up all models."""
    x, y = numbers()
    a, b, guess, weight = 2.0, 3.0, 0.6, 4.0
    delta, v1 = 0.5, 0.6
    for _ in range(400):
        probabilities = posterior(x, y, v1=v1, delta=delta)
        size = square = 0.0
        for w, chosen in zip(probabilities, models(), strict=True):
            mean, covariance, misfit = moments(x, y, chosen, v1)
            size += w * chosen.sum()
            square += w * (np.sum(mean**2) * DEGREES / misfit + np.trace(covariance))
        target = ((size + a - 1) / (a + b + P - 2), (weight * guess + square) / (weight + size))
        delta, v1 = delta + 0.5 * (target[0] - delta), v1 + 0.5 * (target[1] - v1)
    hyper = Hyper(*(jnp.asarray(value) for value in (a, b, guess, weight)))
    chains = 32
    chain = jax.vmap(lambda own: start(problem, own, jnp.asarray(0.1), jnp.asarray(0.2)))(
        jnp.zeros((chains, P), bool)
    )

    @jax.jit
    def step(chain, k):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(6), k), chains)
        chi = jnp.ones((chains, 2))
        chain, totals, _ = jax.vmap(lambda *own: block(problem, *own, flips=20))(chain, keys, chi)
        return adapted(problem, hyper, chain, totals, 1.0 / (1.0 + 0.5 * k))

    path = []
    for k in range(120):
        chain = step(chain, k)
        path.append((float(chain.delta[0]), float(chain.v1[0])))
        assert np.ptp(chain.delta) == np.ptp(chain.v1) == 0
    mean = np.mean(path[60:], axis=0)
    np.testing.assert_allclose(mean, (delta, v1), rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0.0, 0.3])
@pytest.mark.parametrize("dense", [False, True])
def test_the_spike_learns_its_width(problem, dense, begin):
    """v0 climbs to the maximum of p(y | v0) p(v0), found by adding up all models, and 0 is no trap;
    where that has its maximum at 0 it comes to rest there exactly. Mutations: U from the columns in
    the slab too, the target clipped and not the latent (0 is never reached), the EM step (0 is left
    never), no prior of v0."""
    x, y = numbers()
    if dense:
        y = x @ np.array([0.5, 0.4, -0.5, 0.5, -0.4]) + 0.3 * y
    problem = problem._replace(y=jnp.asarray(y))
    delta, v1 = 0.05, 4.0
    grid = np.linspace(0.0, 1.6, 161)
    heights = [
        np.logaddexp.reduce([log_evidence(x, y, own, v1, delta, v0) for own in models()])
        - np.log1p(v0 * np.sum(x**2) / DEGREES)
        for v0 in grid
    ]
    want = grid[np.argmax(heights)]
    assert 0.7 < want < 0.9 if dense else want == 0
    hyper = Hyper(2.0, 2.0, v1, np.inf)
    chains = 32
    chain = jax.vmap(lambda own: start(problem, own, delta, jnp.asarray(v1), begin))(
        jnp.zeros((chains, P), bool)
    )

    @jax.jit
    def step(chain, k):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(6), k), chains)
        chain, totals, _ = jax.vmap(lambda *own: block(problem, *own, flips=20))(
            chain, keys, jnp.ones((chains, 2))
        )
        moved = adapted(problem, hyper, chain, totals, 0.0, 1.0 / (1.0 + 0.2 * k))
        return moved._replace(delta=chain.delta)

    path = []
    for k in range(80):
        chain = step(chain, k)
        path.append(float(chain.v0[0]))
    if dense:
        assert np.mean(path[40:]) == pytest.approx(want, rel=0.05)
    else:
        assert path[-1] == 0.0


def test_information_is_that_of_a_normal_y(problem):
    """F is what the information of a normal y about v0 and log sigma^2 leaves for v0."""
    x, _ = numbers()
    v0 = 0.2
    chain = begin(problem, jnp.zeros(P, bool), DELTA, jnp.asarray(V1), v0)
    kernel = x @ x.T
    spread = np.eye(N) + v0 * kernel
    part = np.linalg.solve(spread, kernel)
    want = np.array([[np.trace(part @ part), np.trace(part)], [np.trace(part), DEGREES]]) / 2
    schur = want[0, 0] - want[0, 1] ** 2 / want[1, 1]
    told = information(problem, chain)
    assert float(told.fisher) == pytest.approx(schur, rel=1e-9)
    assert float(told.scale) == pytest.approx(np.trace(kernel) / DEGREES, rel=1e-9)


def test_adapting_is_stochastic_approximation(problem):
    hyper = Hyper(*(jnp.asarray(value) for value in (2.0, 3.0, 0.6, 4.0)))
    chain = jax.vmap(lambda own: start(problem, own, DELTA, jnp.asarray(V1)))(
        jnp.zeros((2, P), bool)
    )
    one, each = jnp.ones(2), jnp.ones((2, P))
    totals = Totals(one, each, each, each, one, one, one)
    ends = {omega: adapted(problem, hyper, chain, totals, omega) for omega in (0.0, 0.25, 1.0)}
    want = approximate(ends[0.0].delta, ends[1.0].delta, 0.25)
    np.testing.assert_allclose(ends[0.25].delta, want, rtol=1e-12)
    assert float(ends[1.0].delta[0]) == pytest.approx((P + 1) / (5 + P - 2))
    assert float(ends[1.0].v1[0]) == pytest.approx((4 * 0.6 + 1) / 5)
    assert float(ends[0.0].v1[0]) == V1
    for got, fresh in zip(ends[0.25], refresh_all(problem, ends[0.25]), strict=True):
        np.testing.assert_allclose(got, fresh, rtol=1e-12)


def refresh_all(problem, chains):
    return jax.vmap(lambda chain: refresh(problem, chain))(chains)


def test_a_stretch_moves_to_where_it_has_the_flips_asked_for():
    """Mutation: its length left as it was, or no flip more."""
    length, flips = jnp.array(2.0), jnp.array(9.0)
    assert float(stretched(length, flips, 19, 1.0)) == 4.0  # twenty flips, the one more included
    assert float(stretched(length, flips, 19, 0.5)) == 3.0
    assert bool(jnp.isfinite(stretched(length, jnp.array(0.0), 19, 1.0)))


def test_chains_are_asked_about_v0_only_where_it_moves():
    """Mutation: they are asked whatever the gain is, or never."""
    chains = {"delta": jnp.array([0.25, 0.5])}

    def tell(chain):
        return Information(2.0 * chain["delta"], 3.0 * chain["delta"])

    moving, held = (ask(tell, chains, jnp.array(omega)) for omega in (0.1, 0.0))
    assert moving[0].tolist() == [0.5, 1.0]
    assert moving[1].tolist() == [0.75, 1.5]
    assert held[0].tolist() == held[1].tolist() == [1.0, 1.0]
