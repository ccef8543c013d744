# SPDX-License-Identifier: Apache-2.0
"""A state that is split over eight devices gives the chain of one, and the sampler sends scalars.

Mutations that fail here, each tried: latents left on every device; a rule that is not asked; noise
cut from one flat draw whatever the size; lanes of the threshold that flatten a large leaf; all
leaves joined before they are ranked.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import aeb
from benchmarks.scaling.collectives import DIGITS, collectives, summed

ROWS, NUM_DATA, STEPS = 32, 320, 5


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() >= 8
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def params():
    first, second = jax.random.split(jax.random.key(11))
    return {
        "in": {"kernel": 0.2 * jax.random.normal(first, (48, 128)), "bias": jnp.zeros(128)},
        "out": {"kernel": 0.2 * jax.random.normal(second, (128, 10)), "bias": jnp.zeros(10)},
    }


def batch():
    x_key, label_key = jax.random.split(jax.random.key(7))
    return {
        "x": jax.random.normal(x_key, (ROWS, 48)),
        "label": jax.random.randint(label_key, (ROWS,), 0, 10),
    }


def loss_fn(params, batch, model_state, key):
    """With BatchNorm between the layers, so that all rows meet."""
    hidden = batch["x"] @ params["in"]["kernel"] + params["in"]["bias"][None]
    mean, var = jnp.mean(hidden, axis=0), jnp.var(hidden, axis=0)
    hidden = jnp.tanh((hidden - mean[None]) / jnp.sqrt(var + 1e-5)[None])
    logits = jax.nn.log_softmax(hidden @ params["out"]["kernel"] + params["out"]["bias"][None])
    loss = -jnp.mean(jnp.take_along_axis(logits, batch["label"][:, None], axis=-1))
    return loss, {"mean": 0.9 * model_state["mean"] + 0.1 * mean}


def build(regrow=True):
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(1e-4, temperature=0.1),
        aeb.spike_slab(0.1, 1.0),
        sparsify=aeb.magnitude(0.5, scope="global", regrow=regrow),
    )
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=NUM_DATA, has_aux=True)

    def init(params):
        return algorithm.init(params, {"mean": jnp.zeros(128)})

    return kernel, init


def run(step, state):
    for k in range(STEPS):
        state = step(state, batch(), jax.random.key(k))
    return state


def device_bytes(tree):
    return sum(
        leaf.dtype.itemsize * int(np.prod(leaf.sharding.shard_shape(leaf.shape)))
        for leaf in jax.tree.leaves(tree)
    )


def assert_close(alone, together):
    assert jax.tree.structure(alone) == jax.tree.structure(together)
    # Sums in another order: float32 rounding, a few steps of a smooth net.
    chex.assert_trees_all_close(alone, together, rtol=2e-4, atol=2e-5)


def test_a_sharded_state_gives_the_chain_of_one_device(mesh):
    kernel, init = build()
    alone = run(jax.jit(kernel), init(params()))
    where = aeb.state_sharding(jax.eval_shape(init, params()), mesh)
    state = jax.jit(init, out_shardings=where)(params())
    together = run(aeb.sharded(kernel, where), state)
    assert_close(alone, together)
    for leaf, spot in zip(jax.tree.leaves(together), jax.tree.leaves(where), strict=True):
        assert leaf.sharding.is_equivalent_to(spot, leaf.ndim)
    weights = (48 * 128 + 128 * 10) * 4
    small = (128 + 10) * 4
    # Weights, momentum and three latents, an eighth of each; biases and the rest whole.
    whole = 2 * small + 128 * 4 + 2 * 4 + 4 + 4 + 4
    assert device_bytes(together) == weights * 5 // 8 + whole


def linear(mesh):
    """The cheapest sampler on one large weight: a step, a state, and where it lies."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-4), aeb.gaussian())
    kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x @ w) ** 2), num_data=NUM_DATA)
    weight = jnp.ones((48, 128))
    where = aeb.state_sharding(jax.eval_shape(algorithm.init, weight), mesh)
    return aeb.sharded(kernel, where), jax.jit(algorithm.init, out_shardings=where)(weight), where


def test_a_sharded_state_may_be_used_up(mesh):
    """So that old and new are never in memory at once, as docs/scaling.md has it."""
    step, state, where = linear(mesh)
    new = jax.jit(step, donate_argnums=0)(state, batch()["x"], jax.random.key(1))
    assert state.position.is_deleted()
    assert new.position.sharding.is_equivalent_to(where.position, 2)
    assert int(new.step) == 1


@pytest.mark.slow
def test_orbax_keeps_a_sharded_state(mesh, tmp_path):
    """As docs/scaling.md has it."""
    import orbax.checkpoint

    step, state, where = linear(mesh)
    state = step(state, batch()["x"], jax.random.key(1))
    target = jax.tree.map(
        lambda leaf, spot: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=spot), state, where
    )
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        back = checkpointer.restore(tmp_path / "state", target)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(np.asarray(old), np.asarray(new))
        assert new.sharding.is_equivalent_to(old.sharding, old.ndim)


@pytest.mark.slow
def test_the_optax_face_under_a_mesh_that_is_set(mesh):
    """Mutation: noise drawn from the leaf's own shard, or the mesh's axis read as a batch axis."""
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(1e-4, temperature=0.1), aeb.spike_slab(0.1, 1.0), sparsify=aeb.magnitude(0.5)
    )
    tx = aeb.as_gradient_transformation(algorithm, num_data=NUM_DATA, key=jax.random.key(3))

    def train(params):
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(2):
            params, state = step(params, state)
        return params, state

    alone = train(params())
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, PartitionSpec(None, "data"))
        spread = params()
        spread["in"]["kernel"] = jax.device_put(spread["in"]["kernel"], split)
        together = train(spread)
    assert together[0]["in"]["kernel"].sharding.is_equivalent_to(split, 2)
    assert_close(alone, together)


@pytest.fixture
def explicit():
    """A mesh whose axis is Explicit, a weight split over it, that weight whole, and a sampler."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    weight = jax.random.normal(jax.random.key(0), (48, 128))
    placed = jax.device_put(weight, NamedSharding(mesh, PartitionSpec(None, "data")))
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(1e-3, temperature=0.1), aeb.spike_slab(), sparsify=aeb.magnitude(0.5)
    )
    return mesh, placed, weight, algorithm


@pytest.mark.slow
def test_weights_on_an_explicit_axis(explicit):
    """Mutation: the step not taken under `auto_axes`; JAX then dies in a reshape of ours."""
    mesh, placed, weight, algorithm = explicit

    def loss_fn(params, rows):
        return 0.5 * jnp.mean(jnp.square(rows @ params["w"]))

    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=4)

    def steps(weight):
        state, step = algorithm.init({"w": weight}), jax.jit(kernel)
        for key in jax.random.split(jax.random.key(1), 2):
            state = step(state, jnp.ones((4, 48)), key)
        return state

    alone = steps(weight)
    with jax.set_mesh(mesh):
        together = steps(placed)
        regression = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian(), likelihood="gaussian")
        state = regression.init({"w": placed})
        rest = {"num_data": 4, "rss": lambda position: 1.0}
        with pytest.raises(ValueError, match=r"^params: they are split .* Gaussian"):
            regression.transition(state, state.position, jax.random.key(0), **rest)
        with pytest.raises(ValueError, match=r"^params: they are split .* type Auto"):
            aeb.prune({"w": placed}, 0.5)
    assert jax.typeof(together.latent.rho["w"]).sharding.spec == PartitionSpec(None, "data")
    assert_close(alone, together)


@pytest.mark.slow
def test_the_optax_face_on_an_explicit_axis(explicit):
    """Mutation: the residuals passed on where no likelihood asks for them, which is refused."""
    mesh, placed, weight, algorithm = explicit
    face = aeb.as_gradient_transformation(algorithm, num_data=4, key=jax.random.key(1))
    tx = optax.chain(optax.clip_by_global_norm(1.0), face)

    def steps(weight):
        params = {"w": weight}
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            value, grads = jax.value_and_grad(lambda p: 0.5 * jnp.mean(jnp.square(p["w"])))(params)
            updates, state = tx.update(grads, state, params, value=value)
            return optax.apply_updates(params, updates), state

        for _ in range(2):
            params, state = step(params, state)
        return params, state

    alone = steps(weight)
    with jax.set_mesh(mesh):
        together = steps(placed)
    for leaf in (together[0]["w"], together[1][1].chain.latent.rho["w"]):
        assert jax.typeof(leaf).sharding.spec == PartitionSpec(None, "data")
    assert float((together[0]["w"] == 0).mean()) == 0.5
    assert_close(alone, together)


def test_sample_keeps_a_state_where_it_lies(mesh):
    """The chain itself is compared above; here the cheapest sampler will do."""
    step, state, _ = linear(mesh)
    state, _ = aeb.sample(
        step,
        state,
        batch()["x"],
        jax.random.key(1),
        num_steps=3,
        batch_size=16,
        progress=False,
    )
    assert int(state.step) == 3
    assert state.position.sharding.shard_shape((48, 128)) == (48, 16)


def test_what_belongs_to_a_weight_lies_as_it_does():
    """Under a rule of the user's, on two axes, through the names of a linen variable dict."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    _, init = build(regrow=False)
    seen = []

    def rule(path, leaf):
        seen.append(path)
        if path == "in/kernel":
            return PartitionSpec("data", "model")
        return PartitionSpec()

    shapes = jax.eval_shape(init, {"params": params()})
    where = aeb.state_sharding(shapes, mesh, rule=rule)
    assert sorted(seen) == ["in/bias", "in/kernel", "out/bias", "out/kernel"]
    split = NamedSharding(mesh, PartitionSpec("data", "model"))
    latent = where.latent
    trees = [where.position["params"], where.momentum["params"]]
    for spot in (
        *(tree["in"]["kernel"] for tree in trees),
        *(tree["in/kernel"] for tree in (latent.rho, latent.kappa0, latent.kappa1, where.mask)),
    ):
        assert spot == split
    whole = (latent.delta["in/kernel"], latent.rho["out/kernel"], where.step, latent.sigma)
    assert all(spot.is_fully_replicated for spot in whole)


def test_the_default_rule_takes_the_longest_axis_that_divides(mesh):
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian())
    shapes = {
        "long": (64, 128),
        "tie": (64, 64),
        "odd": (2001, 16),
        "none": (101, 103),
        "small": (8, 8),
    }
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    where = aeb.state_sharding(jax.eval_shape(algorithm.init, tree), mesh)
    specs = {name: tuple(spot.spec) for name, spot in where.position.items()}
    assert specs == {
        "long": (None, "data"),
        "tie": ("data",),
        "odd": (None, "data"),
        "none": (),
        "small": (),
    }


def test_a_rule_or_an_axis_that_does_not_fit_is_named(mesh):
    kernel, init = build()
    shapes = jax.eval_shape(init, params())
    with pytest.raises(ValueError, match=r"rule: .* does not fit the leaf 'out/bias'"):
        aeb.state_sharding(shapes, mesh, rule=lambda path, leaf: PartitionSpec("data"))
    with pytest.raises(ValueError, match="axis: got 'model', the mesh has data"):
        aeb.state_sharding(shapes, mesh, axis="model")
    where = aeb.state_sharding(shapes, mesh)
    with pytest.raises(ValueError, match="axis: got 'model', the mesh has data"):
        aeb.sharded(kernel, where, axis="model")


def sampler_alone(mesh, split, scope, regrow):
    """Compile a transition at six million weights, its gradient given; none of it is run."""
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(1e-4, temperature=0.1),
        aeb.spike_slab(0.1, 1.0),
        sparsify=aeb.magnitude(0.5, scope=scope, regrow=regrow),
    )
    layers = {"a": (2048, 1024), "b": (1024, 4096)}
    tree = {
        name: {
            "kernel": jax.ShapeDtypeStruct(shape, jnp.float32),
            "bias": jax.ShapeDtypeStruct((1001,), jnp.float32),
        }
        for name, shape in layers.items()
    }
    shapes = jax.eval_shape(algorithm.init, tree)

    def rule(path, leaf):
        return split if leaf.ndim == 2 else PartitionSpec()

    where = aeb.state_sharding(shapes, mesh, rule=rule)

    def transition(state, grad, key):
        return algorithm.transition(state, grad, key, num_data=NUM_DATA)

    program = jax.jit(
        transition,
        in_shardings=(where, where.position, NamedSharding(mesh, PartitionSpec())),
        out_shardings=where,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    return program.lower(shapes, tree, key).compile()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "scope", "regrow"),
    [
        (PartitionSpec("data"), "leaf", True),
        (PartitionSpec(None, "data"), "global", False),
    ],
)
def test_the_sampler_alone_sends_scalars_only(mesh, split, scope, regrow):
    compiled = sampler_alone(mesh, split, scope, regrow)
    found = collectives(compiled.as_text(), most=DIGITS)
    assert {collective.kind for collective in found} <= {"all-reduce", "all-gather"}
    # The scalars of the prior; and for each digit of the threshold the counts below seven levels
    # of each leaf, or at most those of eight lanes on eight devices, 4 bytes each.
    assert max(collective.bytes for collective in found) <= 8 * 8 * 4
    # Noise drawn whole on each device would send nothing either, but take eight times its share.
    share = 4 * (2048 * 1024 + 1024 * 4096) / 8
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * share
    # The digits of a key, of the mask and of an index; the prior's scalars are a few bytes.
    assert (
        sum(collective.bytes * collective.times for collective in found)
        <= 3 * DIGITS * 2 * 7 * 8 * 8 * 4 + 100
    )


@pytest.mark.optimised
def test_data_parallel_sends_the_gradient_once(mesh):
    """And the moments of BatchNorm; neither noise nor latents nor the threshold."""
    kernel, init = build()
    step = aeb.data_parallel(kernel, mesh)
    shapes = jax.eval_shape(init, params())
    program = jax.jit(lambda *arguments: step(*arguments)).lower(shapes, batch(), jax.random.key(0))
    found = collectives(program.compile().as_text())
    assert {collective.kind for collective in found} == {"all-reduce"}
    weights = sum(leaf.size for leaf in jax.tree.leaves(params()))
    # With the loss in one reduce; two moments of 128 units and what goes back through them besides.
    assert max(collective.bytes for collective in found) == 4 * (weights + 1)
    assert (
        sum(collective.bytes * collective.times for collective in found)
        <= 4 * (weights + 1) + 6 * 4 * 128
    )


PROGRAM = """\
HloModule jit_f

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %r = (f32[4]{0}, /*index=1*/pred[3]{0}) all-reduce(%x, %y), channel_id=1, to_apply=%add
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %w = (s32[], f32[4]) while(%t), condition=%c, body=%inner, x={"known_trip_count":{"n":"5"}}
}

%taken (p: f32[2]) -> bf16[16] {
  ROOT %g = bf16[16]{0} all-gather(%p), dimensions={0}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w = (s32[], f32[4]) while(%t), condition=%c, body=%outer, x={"known_trip_count":{"n":"3"}}
  %i = bf16[16]{0} conditional(%b, %p, %p), branch_computations={%taken, %c}
  ROOT %p2 = f32[4]{0} collective-permute(%p), source_target_pairs={{0,1}}
}
"""


def test_collectives_count_as_often_as_their_loops_turn():
    totals = summed(collectives(PROGRAM), 4)
    assert totals["all-reduce"] == {"calls": 15, "bytes": 15 * 19, "sent": 1.5 * 15 * 19}
    assert totals["all-gather"] == {"calls": 1, "bytes": 32, "sent": 24.0}
    assert totals["collective-permute"] == {"calls": 1, "bytes": 16, "sent": 16.0}
    without = PROGRAM.replace('x={"known_trip_count":{"n":"5"}}', "x")
    with pytest.raises(ValueError, match="no trip count"):
        collectives(without)
    assert collectives(without, most=5) == collectives(PROGRAM)
    with pytest.raises(ValueError, match="no entry"):
        collectives("HloModule f")
