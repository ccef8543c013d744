# SPDX-License-Identifier: Apache-2.0
"""Each bad input is a clear error that names the argument, before any compute.

Mutation: drop any guard, and its row passes silently or fails with a message of JAX's own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import cross_entropy, data, two_layers

import aeb


def algorithm(**options):
    return aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(0.1, 1.0), **options)


def step(loss_fn=cross_entropy, batch=None, key=None, params=None, **options):
    chain = algorithm()
    kernel = aeb.build_kernel(chain, loss_fn, num_data=32, **options)
    state = chain.init(two_layers() if params is None else params)
    key = jax.random.key(0) if key is None else key
    return jax.jit(kernel)(state, data() if batch is None else batch, key)


def sample(**changes):
    shared = {"state": algorithm().init(two_layers()), "data": data(), "key": jax.random.key(0)}
    return aeb.sample(step, **{**shared, "num_steps": 1, "batch_size": 3} | changes)


VALUE_ERRORS = {
    "v0": lambda: aeb.spike_slab(0.0, 1.0),
    "v1": lambda: aeb.spike_slab(0.1, -1.0),
    "a": lambda: aeb.spike_slab(0.1, 1.0, a=0.5),
    "b": lambda: aeb.spike_slab(0.1, 1.0, b=0.0),
    "nu": lambda: aeb.spike_slab(0.1, 1.0, nu=0.0),
    "lam": lambda: aeb.spike_slab(0.1, 1.0, lam=-1.0),
    "sigma0": lambda: aeb.spike_slab(0.1, 1.0, sigma0=0.0),
    "sigma": lambda: aeb.spike_slab(0.1, 1.0, sigma=float("nan")),
    "rho": lambda: aeb.spike_slab(0.1, 1.0, rho=1.1),
    "delta": lambda: aeb.spike_slab(0.1, 1.0, delta=0.0),
    "kappa0": lambda: aeb.spike_slab(0.1, 1.0, kappa0=-1.0),
    "kappa1": lambda: aeb.spike_slab(0.1, 1.0, kappa1=-1.0),
    "precision": lambda: aeb.gaussian(0.0),
    "precision ": lambda: aeb.spike_slab(precision=-1.0),
    "step_size": lambda: aeb.sgld(0.0),
    "temperature": lambda: aeb.sghmc(1e-3, temperature=-1.0),
    "friction": lambda: aeb.sghmc(1e-3, friction=0.0),
    "friction ": lambda: aeb.sghmc(1e-3, friction=1.5),
    "noise_estimate": lambda: aeb.sghmc(1e-3, friction=0.1, noise_estimate=0.2),
    "gain": lambda: algorithm(gain=1.5),
    "likelihood": lambda: algorithm(likelihood="poisson"),
    "ramp": lambda: aeb.magnitude(1.0),
    "ramp ": lambda: aeb.units(-0.1),
    "scope": lambda: aeb.inclusion(0.5, scope="layer"),
    "of": lambda: aeb.magnitude(0.5, of="some"),
    "threshold": lambda: aeb.learned(1.0),
    "begin": lambda: aeb.learned(begin=-1),
    "num_data": lambda: aeb.build_kernel(algorithm(), cross_entropy, num_data=0),
    "where": lambda: aeb.spike_slab(0.1, 1.0, where="(kernel"),
    "where ": lambda: aeb.empirical_bayes(
        aeb.sgld(1e-3), aeb.spike_slab(0.1, 1.0, where="nowhere")
    ).init(two_layers()),
    "where  ": lambda: aeb.prune(two_layers(), 0.5, where="nowhere"),
    "params": lambda: algorithm().init({}),
    "params ": lambda: algorithm().init({"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}}),
    "loss_fn": lambda: step(lambda p, b: jnp.ones(3)),
    "loss_fn ": lambda: step(lambda p, b: jnp.ones((), int)),
    "loss_fn  ": lambda: step(lambda p, b: (cross_entropy(p, b), ())),
    "loss_fn   ": lambda: step(lambda p, b, s, k: cross_entropy(p, b), has_aux=True),
    "state": lambda: aeb.build_kernel(algorithm(), cross_entropy, num_data=3)(
        jax.vmap(algorithm().init)(jax.tree.map(lambda leaf: leaf[None], two_layers())),
        data(),
        jax.random.split(jax.random.key(0), 1),
    ),
    "state ": lambda: aeb.chains(aeb.build_kernel(algorithm(), cross_entropy, num_data=3))(
        algorithm().init(two_layers()), data(), jax.random.split(jax.random.key(0), 1)
    ),
    "batch": lambda: step(batch={"x": jnp.ones((4, 6)), "label": jnp.ones(3, int)}),
    "key": lambda: step(key=jax.random.split(jax.random.key(0), 2)),
    "batch_size": lambda: sample(batch_size=33),
    "num_steps": lambda: sample(num_steps=-1),
    "checkpoint": lambda: sample(checkpoint=__file__),
    "every": lambda: sample(every=0),
    "data ": lambda: aeb.bind_data(
        aeb.as_sampling_algorithm(algorithm(), cross_entropy, num_data=3), {"x": jnp.ones(())}
    ),
    "weights ": lambda: aeb.predict(
        lambda w, x: w * x, jnp.ones(2), jnp.ones(2), weights=jnp.zeros(2)
    ),
    "grads": lambda: optax_step(algorithm(), grads={"w": jnp.ones(1)}),
    "data": lambda: sample(data={}),
    "draws": lambda: aeb.predict(lambda w, x: w * x, jnp.ones((0,)), jnp.ones(2)),
    "inputs": lambda: aeb.predict(lambda w, x: w * x, jnp.ones(2), jnp.ones((0,))),
    "weights": lambda: aeb.predict(
        lambda w, x: w * x, jnp.ones(2), jnp.ones(2), weights=jnp.ones(3)
    ),
    "axis": lambda: aeb.data_parallel(
        step, jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)), axis="rows"
    ),
    "value": lambda: optax_step(algorithm(likelihood="gaussian")),
    "params   ": lambda: optax_step(algorithm(), params=False),
    "sparsify": lambda: aeb.empirical_bayes(
        aeb.sgld(1e-3), aeb.gaussian(), sparsify=aeb.learned()
    ).init(two_layers()),
    "likelihood ": lambda: aeb.empirical_bayes(
        aeb.sgld(1e-3),
        aeb.Prior(lambda p: (), lambda p, s: jnp.zeros(()), lambda s, *_: s),
        likelihood="gaussian",
    ).init(two_layers()),
}

TYPE_ERRORS = {
    "v0": lambda: aeb.spike_slab("0.1", 1.0),
    "temperature": lambda: aeb.sgld(1e-3, temperature=jnp.ones(2)),
    "where": lambda: aeb.spike_slab(0.1, 1.0, where=3),
    "params": lambda: algorithm().init({"w": jnp.ones(3, int)}),
    "params ": lambda: algorithm().init({"w": 1}),
    "params  ": lambda: algorithm().init({"w": jnp.ones(3, complex)}),
    "key": lambda: step(key=0),
    "key ": lambda: aeb.as_gradient_transformation(algorithm(), num_data=3, key=0),
    "key  ": lambda: step(key=jnp.zeros(2, jnp.uint32)),
    "rng_key": lambda: aeb.bind_data(
        aeb.as_sampling_algorithm(algorithm(), cross_entropy, num_data=3), data(), 4
    ).step(0, algorithm().init(two_layers())),
    "key    ": lambda: algorithm().transition(
        algorithm().init(two_layers()), two_layers(), 0, num_data=3
    ),
    "key     ": lambda: aeb.chains(step)(algorithm().init(two_layers()), data(), 0),
    "key   ": lambda: sample(key=7),
    "state": lambda: aeb.sample(
        step, two_layers(), data(), jax.random.key(0), num_steps=1, batch_size=3
    ),
    "state ": lambda: jax.eval_shape(
        lambda state: aeb.sample(step, state, data(), jax.random.key(0), num_steps=1, batch_size=3),
        algorithm().init(two_layers()),
    ),
    "num_data": lambda: aeb.build_kernel(algorithm(), cross_entropy, num_data=data()),
    "loss_fn": lambda: aeb.build_kernel(algorithm(), "loss", num_data=3),
    "loss_fn ": lambda: aeb.build_kernel(algorithm(), lambda p, b, s, k: 0.0, num_data=3),
    "loss_fn  ": lambda: aeb.build_kernel(algorithm(), cross_entropy, num_data=3, has_aux=True),
    "data": lambda: aeb.sample(
        step,
        algorithm().init(two_layers()),
        {**data(), "name": np.array(["a"] * 32)},
        jax.random.key(0),
        num_steps=1,
        batch_size=3,
    ),
    "state  ": lambda: aeb.build_kernel(algorithm(), cross_entropy, num_data=3)(
        two_layers(), data(), jax.random.key(0)
    ),
    "algorithm": lambda: aeb.build_kernel(aeb.sgld(1e-3), cross_entropy, num_data=3),
    "algorithm ": lambda: aeb.as_gradient_transformation(
        aeb.gaussian(), num_data=3, key=jax.random.key(0)
    ),
    "dynamics": lambda: aeb.empirical_bayes(aeb.gaussian(), aeb.gaussian()),
    "prior": lambda: aeb.empirical_bayes(aeb.sgld(1e-3), aeb.sgld(1e-3)),
    "sparsify": lambda: aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian(), sparsify=0.5),
    "batch_size": lambda: aeb.sample(
        step, algorithm().init(two_layers()), data(), jax.random.key(0), num_steps=1, batch_size=2.5
    ),
}


def optax_step(chain, params=True, grads=None):
    tx = aeb.as_gradient_transformation(chain, num_data=32, key=jax.random.key(0))
    tree = two_layers()
    return tx.update(grads or tree, tx.init(tree), tree if params else None)


@pytest.mark.parametrize("word", VALUE_ERRORS)
def test_value(word):
    with pytest.raises(ValueError, match=f"^{word.strip()}:") as caught:
        VALUE_ERRORS[word]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", TYPE_ERRORS)
def test_type(word):
    with pytest.raises(TypeError, match=f"^{word.strip()}:") as caught:
        TYPE_ERRORS[word]()
    assert len(str(caught.value)) < 300


def test_where_lists_every_path():
    """Mutation: the first eight of them."""
    names = [f"block_{n}/conv_{m}/kernel" for n in range(9) for m in range(2)]
    params = {name: jnp.ones(1) for name in [*names, "head/kernel"]}
    with pytest.raises(ValueError, match=r"^where: 'convolution' matches no leaf") as caught:
        aeb.prune(params, 0.5, where="convolution")
    paths = str(caught.value).split("the paths are ")[1]
    assert paths == "'block_*/conv_*/kernel' (18), 'head/kernel' (* stands for a number)"


def test_a_number_of_no_such_name_is_told():
    """Fails if a kernel or the step below it takes any keyword (mutation: `**rest: Any` there)."""
    state = jax.eval_shape(algorithm().init, two_layers())
    kernel = aeb.build_kernel(algorithm(), cross_entropy, num_data=32)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepsize'"):
        jax.eval_shape(lambda s: kernel(s, data(), jax.random.key(0), stepsize=1.0), state)
