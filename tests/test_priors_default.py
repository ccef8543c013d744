# SPDX-License-Identifier: Apache-2.0
"""`spike_slab()` without numbers: what it takes from a network, and that it does no harm.

Mutations that fail here: v1 in proportion to s, not to its square; zeros counted into a leaf's
size; the weight not capped at 1, or never read off N; kappa0 started at (1 - rho) / v0; sigma
learned under a categorical likelihood.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import NUM_DATA, cross_entropy, data, two_layers

import aeb
from aeb.priors.spike_slab import PAPER, SHARE, SLAB, SPIKE, typical_size
from aeb.tree import named_leaves


def one_step(prior, params, num_data=NUM_DATA, **ingredients):
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-6, 0.0), prior, **ingredients)
    kernel = aeb.build_kernel(algorithm, cross_entropy, num_data=num_data)
    return kernel(algorithm.init(params), data(), jax.random.key(0))


def test_it_is_the_prior_with_the_numbers_of_the_leaf():
    """The latents and the score of the prior that is told v0, v1 and the weight."""
    kernel = jnp.array([[0.3, -0.4], [0.0, 0.5]])
    size = np.sqrt((0.09 + 0.16 + 0.25) / 3)
    weight = SHARE * 6 / 4
    found, sigma = aeb.spike_slab(sigma=0.5), 0.5
    given = aeb.spike_slab(
        SPIKE * size / sigma, (SLAB * size / sigma) ** 2, weight=weight, sigma=sigma
    )
    params = {"kernel": kernel, "bias": jnp.ones(2)}
    latents = []
    for prior in (found, given):
        latent = prior.init(params)
        for _ in range(3):
            latent = prior.update(latent, params, 0.5, 6.0)
        score = jax.grad(prior.log_density)(params, latent)
        latents.append((latent._replace(size=(), weight=()), score))
    chex.assert_trees_all_close(*latents, rtol=2e-6)


def test_weights_c_times_as_large_are_pulled_one_c_th_as_hard():
    prior = aeb.spike_slab()
    params = {"kernel": jax.random.normal(jax.random.key(1), (40, 30))}

    def learned(scale):
        scaled = jax.tree.map(lambda leaf: scale * leaf, params)
        latent = prior.init(scaled)
        for _ in range(5):
            latent = prior.update(latent, scaled, 0.5, 1000.0)
        return latent, jax.grad(prior.log_density)(scaled, latent)["kernel"]

    (small, pull), (large, weaker) = learned(1.0), learned(32.0)
    np.testing.assert_allclose(small.rho["kernel"], large.rho["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pull, 32.0 * weaker, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_nothing_pulls_before_rho_and_sigma_stays_where_it_is_no_noise():
    latent = one_step(aeb.spike_slab(), two_layers()).latent
    start = aeb.spike_slab().init(two_layers())
    assert all(not leaf.any() for leaf in start.kappa0.values())
    assert all(leaf.any() for leaf in latent.kappa0.values())
    assert float(latent.sigma) == 1.0
    regression = one_step(aeb.spike_slab(), two_layers(), likelihood="gaussian").latent
    assert float(regression.sigma) != 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("num_data", "weight"), [(NUM_DATA, SHARE * NUM_DATA / 45), (10**6, 1.0)])
def test_the_weight_comes_from_the_numbers_of_weights_and_images(num_data, weight):
    for gain in (0.0, 0.5):
        latent = one_step(aeb.spike_slab(), two_layers(), num_data, gain=gain).latent
        np.testing.assert_allclose(float(latent.weight), weight, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_size_is_that_of_the_weights_that_are_left(scale):
    leaf = scale * jnp.array([0.0, 3.0, -3.0, 0.0])
    np.testing.assert_allclose(float(typical_size(leaf)), 3.0 * scale, rtol=1e-6)
    assert float(typical_size(jnp.zeros((16, 5)))) == 0.25


def test_numbers_that_are_given_are_kept_and_leave_nothing_in_the_latent():
    latent = one_step(aeb.spike_slab(0.1, 1.0), two_layers()).latent
    assert latent.size == ()
    assert latent.weight == ()


def test_the_prior_of_the_paper():
    prior = aeb.paper_spike_slab(0.9)
    params = {"kernel": jnp.full((3,), 0.01)}
    latent = prior.update(prior.init(params), params, 1.0, 50_000)
    v0, v1 = PAPER[0.9]
    assert (v0, v1) == (0.005, 1e-5)
    np.testing.assert_allclose(latent.kappa0["kernel"], (1 - latent.rho["kernel"]) / v0, rtol=1e-6)
    np.testing.assert_allclose(latent.kappa1["kernel"], latent.rho["kernel"] / v1, rtol=1e-6)
    assert float(latent.sigma) != 1.0


# --- Trained networks keep what they know. ---

N = 1437
STEPS = 440


def mlp(params, x):
    x = x.reshape(len(x), 64)
    for name in ("one", "two"):
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"][None])
    return x @ params["head"]["kernel"]


def attention(params, x):
    """Eight rows of pixels look at one another once; the mean of what they saw is classified."""
    x = x.reshape(len(x), 8, 8) @ params["embed"]["kernel"] + params["position"][None]
    query, key, value = (x @ params[name]["kernel"] for name in ("query", "key", "value"))
    seen = jax.nn.softmax(jnp.einsum("bid,bjd->bij", query, key) / 24**0.5)
    x = x + jnp.einsum("bij,bjd->bid", seen, value)
    x = x + jax.nn.relu(x @ params["up"]["kernel"]) @ params["down"]["kernel"]
    return x.mean(axis=1) @ params["head"]["kernel"]


def convolution(params, x):
    """Two convolutions over 8x8 pixels, each of them normalised over the batch."""
    for name in ("first", "second"):
        x = jax.lax.conv_general_dilated(
            x, params[name]["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean, square = x.mean(axis=(0, 1, 2)), jnp.square(x).mean(axis=(0, 1, 2))
        spread = jax.lax.rsqrt(square - jnp.square(mean) + 1e-5) * params[name]["scale"]
        x = (x - mean[None, None, None]) * spread[None, None, None]
        x = jax.nn.relu(x + params[name]["bias"][None, None, None])
    return x.reshape(len(x), -1) @ params["head"]["kernel"]


def residual(params, x):
    """A stem and two blocks of two convolutions with a way around them, at 8x8 and 4x4 pixels."""

    def layer(name, x):
        kernel, spread = params[name]["kernel"], params[name]["scale"]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean, square = x.mean(axis=(0, 1, 2)), jnp.square(x).mean(axis=(0, 1, 2))
        spread = jax.lax.rsqrt(square - jnp.square(mean) + 1e-5) * spread
        x = (x - mean[None, None, None]) * spread[None, None, None]
        return x + params[name]["bias"][None, None, None]

    x = jax.nn.relu(layer("stem", x))
    x = jax.nn.relu(x + layer("first_b", jax.nn.relu(layer("first_a", x))))
    x = x.reshape(len(x), 4, 2, 4, 2, -1).mean(axis=(2, 4))
    x = jax.nn.relu(x + layer("second_b", jax.nn.relu(layer("second_a", x))))
    return x.mean(axis=(1, 2)) @ params["head"]["kernel"]


NETS = {
    "mlp": (mlp, {"one": (64, 60), "two": (60, 40), "head": (40, 10)}),
    "attention": (
        attention,
        {"embed": (8, 24), "query": (24, 24), "key": (24, 24), "value": (24, 24)}
        | {"up": (24, 48), "down": (48, 24), "head": (24, 10)},
    ),
    "convolution": (
        convolution,
        {"first": (3, 3, 1, 16), "second": (3, 3, 16, 32), "head": (128, 10)},
    ),
    "residual": (
        residual,
        {"stem": (3, 3, 1, 16), "first_a": (3, 3, 16, 16), "first_b": (3, 3, 16, 16)}
        | {"second_a": (3, 3, 16, 16), "second_b": (3, 3, 16, 16), "head": (16, 10)},
    ),
}
NORMALISED = ("convolution", "residual")


def images(part):
    digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
    rows = getattr(digits, part)
    return {"x": jnp.asarray(normalize(rows["image"])), "y": jnp.asarray(rows["label"])}


def problem(name, scale, dtype):
    """Start and loss of a network whose kernels are `scale` times as large, and do the same."""
    net, shapes = NETS[name]
    params = {}
    for number, (layer, shape) in enumerate(shapes.items()):
        draw = jax.random.normal(jax.random.key(number), shape)
        kernel = scale * draw * (2 * shape[-1] / draw.size) ** 0.5
        params[layer] = {"kernel": kernel, "bias": jnp.zeros(shape[-1])}
        if name in NORMALISED:
            params[layer]["scale"] = jnp.ones(shape[-1])
    if name == "attention":
        params["position"] = 0.02 * jax.random.normal(jax.random.key(99), (8, 24))

    def logits(params, x):
        params = {
            layer: {k: v / scale if k == "kernel" else v for k, v in leaves.items()}
            if isinstance(leaves, dict)
            else leaves
            for layer, leaves in params.items()
        }
        return net(params, x.astype(dtype)).astype(jnp.float32)

    def loss_fn(params, batch):
        log_probs = jax.nn.log_softmax(logits(params, batch["x"]))
        return -jnp.mean(jnp.take_along_axis(log_probs, batch["y"][:, None], axis=-1))

    return jax.tree.map(lambda leaf: leaf.astype(dtype), params), logits, loss_fn


def trained(algorithm, loss_fn, params, seed, num_steps=STEPS):
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=N)
    state, _ = aeb.sample(
        kernel,
        algorithm.init(params),
        images("train"),
        jax.random.key(seed),
        num_steps=num_steps,
        batch_size=64,
        progress=False,
    )
    return state.position


def hits(logits, params):
    """Return which of the 360 test images are told rightly, bool[360]."""
    test = images("test")
    return np.asarray(logits(params, test["x"]).argmax(axis=-1) == test["y"])


def rate_of(scale, num_steps=STEPS):
    return optax.cosine_decay_schedule(0.03 * scale**2, num_steps + 1)


@functools.cache
def dense(name, scale, dtype):
    params, logits, loss_fn = problem(name, scale, dtype)
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(learning_rate=rate_of(scale), temperature=0.0),
        aeb.gaussian(precision=1e-4 * N / scale**2),
        gain=0.0,
    )
    return trained(algorithm, loss_fn, params, 1), logits, loss_fn


CASES = [
    pytest.param(name, scale, dtype, rule, id=f"{label}-{rule}")
    for label, name, scale, dtype, rules in [
        ("mlp", "mlp", 1.0, jnp.float32, ("learned", "80 %")),
        ("mlp-times-10", "mlp", 10.0, jnp.float32, ("learned", "80 %")),
        ("mlp-times-0.1", "mlp", 0.1, jnp.float32, ("learned", "80 %")),
        ("convolution", "convolution", 1.0, jnp.float32, ("learned", "80 %")),
        # In 440 steps pruning by magnitude costs these up to 2.2, 3.9 and 1.4 points at 80 %, on
        # two seeds, and 1.4, 3.9 and 0.6 without spike and slab. In 1,760, by worth, .3 at most.
        ("mlp-bf16", "mlp", 1.0, jnp.bfloat16, ("learned", "80 % by worth")),
        ("attention", "attention", 1.0, jnp.float32, ("learned", "80 % by worth")),
        ("residual", "residual", 1.0, jnp.float32, ("learned", "80 % by worth")),
    ]
    for rule in rules
]


@pytest.mark.parametrize(("name", "scale", "dtype", "rule"), CASES)
@pytest.mark.slow
def test_a_trained_network_loses_at_most_a_point(name, scale, dtype, rule):
    """Or no more than a point by two standard errors of the difference, image by image.

    One of 360 images is .28 points. The residual network at 80 % lost 1.4, -.3, 1.9, .3 and .3
    points with five keys (on a processor with AVX2), so one key does not tell a point.
    Mutation: `aeb.gaussian` in place of spike and slab costs it 8.3 points.
    """
    params, logits, loss_fn = dense(name, scale, dtype)
    before = hits(logits, params)
    assert before.mean() > 0.88
    num_steps = 4 * STEPS if "worth" in rule else STEPS
    ramp = aeb.sparsity_ramp(0.8, num_steps)
    rules = {"learned": aeb.learned(), "80 %": aeb.magnitude(ramp, scope="global")}
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(learning_rate=rate_of(scale, num_steps), temperature=1e-2),
        aeb.spike_slab(),
        sparsify=rules.get(rule, aeb.fisher(ramp)),
    )
    after = trained(algorithm, loss_fn, params, 2, num_steps)
    kernels = [leaf for path, leaf in named_leaves(after).items() if path.endswith("kernel")]
    zeros = sum(int((leaf == 0).sum()) for leaf in kernels) / sum(leaf.size for leaf in kernels)
    assert zeros > (0.2 if rule == "learned" else 0.78)
    lost = before.astype(float) - hits(logits, after)
    assert lost.mean() <= 0.01 + 2 * lost.std(ddof=1) / len(lost) ** 0.5
