# SPDX-License-Identifier: Apache-2.0
"""Augmentation: one battery for all, then the law of each.

Every statistical bound is five standard errors wide, a false alarm in about 2 million seeds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from aeb.data import compose, random_crop, random_erasing, random_flip, random_rotation
from aeb.data.augment import _rotate

ALL = {
    "crop": random_crop(padding=3),
    "flip": random_flip(),
    "rotation": random_rotation(),
    "erasing": random_erasing(),
    "fill": compose(
        random_crop(padding=2, fill=(1.0, 2.0, 3.0)),
        random_rotation(fill=(1.0, 2.0, 3.0)),
        random_erasing(fill=(1.0, 2.0, 3.0)),
    ),
    "none": compose(),
}


def close(sample, mean, sd):
    """Say whether the mean of the sample is within five standard errors of `mean`."""
    sample = np.asarray(sample, float)
    return abs(sample.mean() - mean) < 5 * sd / np.sqrt(sample.size)


@pytest.mark.parametrize("name", ALL)
def test_battery(name):
    """Fails if the key is not all that matters, images share a draw, or it traces anew."""
    traces = []

    @jax.jit
    def augment(key, images):
        traces.append(1)
        return ALL[name](key, images)

    image = jax.random.uniform(jax.random.key(1), (1, 9, 6, 3))
    images = jnp.repeat(image, 40, axis=0)
    first, again, other = (augment(jax.random.key(seed), images) for seed in (0, 0, 7))
    assert jnp.array_equal(first, again)
    assert jnp.all(jnp.isfinite(first))
    if name == "none":
        assert jnp.array_equal(first, images)
    else:
        assert not jnp.array_equal(first, other)
        assert len(np.unique(np.asarray(first).reshape(40, -1), axis=0)) > 1
    assert len(traces) == 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_shape_and_dtype_are_kept(name, dtype, x64):
    """Fails if a draw or a coordinate has the default dtype, which x64 changes, or H is W."""
    images = jax.ShapeDtypeStruct((2, 5, 4, 3), dtype)
    found = jax.eval_shape(ALL[name], jax.random.key(0), images)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"none"}))
def test_under_vmap(name, key):
    """Fails if an augmentation does not batch over keys, as for many chains."""
    keys, images = jax.random.split(key, 2), jnp.ones((2, 3, 5, 4, 3))
    assert jax.eval_shape(jax.vmap(ALL[name]), keys, images).shape == images.shape


@pytest.mark.parametrize("name", ALL)
def test_refuses_what_is_not_a_batch_of_float_images(name, key):
    """Fails if raw pixels, or an image without a batch axis, pass."""
    with pytest.raises(TypeError, match="expected floats, got uint8"):
        ALL[name](key, jnp.ones((2, 5, 4, 3), jnp.uint8))
    with pytest.raises(ValueError, match=r"\[B, H, W, C\]"):
        ALL[name](jax.random.key(1), jnp.ones((5, 4, 3)))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: random_crop(padding=-1), "padding"),
        (lambda: random_crop(padding=1.5), "padding"),
        (lambda: random_flip(probability=1.1), "probability"),
        (lambda: random_rotation(max_degrees=-1), "max_degrees"),
        (lambda: random_rotation(max_degrees=181), "max_degrees"),
        (lambda: random_erasing(probability=-0.1), "probability"),
        (lambda: random_erasing(area=(0.0, 0.4)), "area"),
        (lambda: random_erasing(area=(0.4, 0.1)), "area"),
        (lambda: random_erasing(area=(0.4, 1.1)), "area"),
        (lambda: random_erasing(aspect=(0.0, 1.0)), "aspect"),
        (lambda: random_erasing(aspect=(2.0, 1.0)), "aspect"),
        (lambda: random_crop(fill=(1.0, 2.0))(jax.random.key(0), jnp.ones((1, 4, 4, 3))), "fill"),
    ],
)
def test_bad_arguments_are_named(make, match):
    """Fails if any one of the guards is dropped."""
    with pytest.raises(ValueError, match=match):
        make()


def test_composed_augmentations_draw_apart(key):
    """Fails if both get one key: two equal flips would cancel in every image."""
    images = jnp.broadcast_to(jnp.arange(3.0).reshape(1, 1, 3, 1), (4000, 1, 3, 1))
    flipped = compose(random_flip(), random_flip())(key, images)[:, 0, 0, 0] == 2
    assert close(flipped, 0.5, 0.5)


def test_flip_rate_and_content(key):
    """Fails if the probability is inverted, or rows are flipped in place of columns."""
    images = jax.random.uniform(jax.random.key(1), (4000, 3, 2, 1))
    found = random_flip(probability=0.2)(key, images)
    mirrored = np.asarray((found == images[:, :, ::-1]).all((1, 2, 3)))
    kept = np.asarray((found == images).all((1, 2, 3)))
    assert (mirrored ^ kept).all()
    assert close(mirrored, 0.2, 0.4)


def test_crop_offsets_are_uniform(key):
    """Fails if the last offset is never drawn, or rows and columns share their draw."""
    count, padding, fill = 5000, 2, (-1.0, -2.0)
    image = np.arange(1.0, 61.0, dtype=np.float32).reshape(1, 5, 6, 2)
    padded = np.empty((9, 10, 2), np.float32)
    padded[:] = fill
    padded[2:7, 2:8] = image[0]
    windows = [padded[i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
    found = np.asarray(
        random_crop(padding=padding, fill=fill)(key, jnp.repeat(jnp.asarray(image), count, 0))
    )
    hits = np.array([(found == window).all((1, 2, 3)) for window in windows])
    assert (hits.sum(0) == 1).all()
    chi_squared = ((hits.sum(1) - count / 25) ** 2 / (count / 25)).sum()
    assert abs(chi_squared - 24) < 5 * np.sqrt(2 * 24)


def test_rotation_by_known_angles():
    """Fails if the angle changes sign, or the centre is off by half a pixel."""
    image = jax.random.uniform(jax.random.key(1), (1, 7, 7, 2))
    for turns in (1, 2, 3):
        angle = jnp.full((1,), turns * jnp.pi / 2)
        found = _rotate(image, angle, jnp.zeros((1, 1, 1, 2)))
        np.testing.assert_allclose(found, np.rot90(image, turns, axes=(1, 2)), atol=1e-5)


def test_rotation_against_scipy(key):
    """Fails if a corner of the interpolation, the fill, or the non-square centre is wrong."""
    images = np.asarray(jax.random.uniform(key, (3, 6, 9, 2)))
    angles, fill = np.array([0.3, -1.1, 2.0]), np.array([0.5, -2.0])
    found = _rotate(
        jnp.asarray(images),
        jnp.asarray(angles, jnp.float32),
        jnp.asarray(fill, jnp.float32).reshape(1, 1, 1, 2),
    )
    rows, columns = np.mgrid[:6, :9]
    for image, angle, result in zip(images, angles, found, strict=True):
        y, x = rows - 2.5, columns - 4.0
        source = [
            np.cos(angle) * y + np.sin(angle) * x + 2.5,
            -np.sin(angle) * y + np.cos(angle) * x + 4.0,
        ]
        for channel in range(2):
            expected = scipy.ndimage.map_coordinates(
                image[..., channel], source, order=1, mode="grid-constant", cval=fill[channel]
            )
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-5)


def test_rotation_angles_are_uniform(key):
    """Fails if degrees are taken for radians, or angles have one sign only."""
    ramp = jnp.broadcast_to(jnp.arange(9.0).reshape(1, 1, 9, 1) - 4, (2000, 9, 9, 1))
    turned = random_rotation(max_degrees=20)(key, ramp)
    # Bilinear interpolation is exact on a ramp: two rows off the centre it reads -2 sin(angle).
    angles = np.degrees(np.arcsin(-np.asarray(turned[:, 6, 4, 0]) / 2))
    assert abs(angles).max() < 20 + 1e-3
    assert close(angles, 0, 20 / np.sqrt(3))
    assert close(angles**2, 20**2 / 3, 20**2 * np.sqrt(1 / 5 - 1 / 9))


def erased_sides(key, shape, **arguments):
    """Erase from ones; return height and width of each hole, 0 for none, and the images."""
    images = random_erasing(**arguments)(key, jnp.ones(shape))
    hole = np.asarray(images[..., 0] == 0)
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert (hole.sum((1, 2)) == height * width).all()  # a rectangle, all of it
    return height, width, hole


@pytest.mark.parametrize("shape", [(4000, 32, 32, 1), (4000, 24, 40, 1)])
def test_erasing_rate_and_bounds(key, shape):
    """Fails if the probability is inverted, or a side or the area leaves its range."""
    height, width, _ = erased_sides(key, shape, probability=0.3)
    erased = height > 0
    assert close(erased, 0.3, np.sqrt(0.21))
    height, width, size = height[erased], width[erased], shape[1] * shape[2]
    # Rounding moves each side by half a pixel at most.
    assert ((height - 0.5) * (width - 0.5) <= 0.4 * size).all()
    assert ((height + 0.5) * (width + 0.5) >= 0.02 * size).all()
    assert ((height + 0.5) / (width - 0.5) >= 0.3).all()
    assert ((height - 0.5) / (width + 0.5) <= 1 / 0.3).all()
    assert (height * width > 0.35 * size).any()
    assert (height * width < 0.05 * size).any()


def test_erasing_laws(key):
    """Fails if the share or the aspect is not uniform, or the two sides are swapped."""
    height, width, hole = erased_sides(
        key, (2000, 120, 120, 1), probability=1.0, area=(0.02, 0.1), aspect=(0.5, 3.0)
    )
    assert close(height * width / 120**2, 0.06, 0.08 / np.sqrt(12))
    assert close(height / width, 1.75, 2.5 / np.sqrt(12))
    top = hole.any(2).argmax(1) / (120 - height)
    left = hole.any(1).argmax(1) / (120 - width)
    for place in (top, left):
        assert close(place, 0.5, 1 / np.sqrt(12))
        assert (place == 0).any()
        assert (place == 1).any()
    assert abs(np.corrcoef(top, left)[0, 1]) < 5 / np.sqrt(2000)


def test_erasing_draws_again_what_does_not_fit(key):
    """Fails if the first draw is taken or given up: here 13 in 14 do not fit."""
    height, width, _ = erased_sides(
        key, (2000, 8, 40, 1), probability=1.0, area=(0.5, 0.5), aspect=(0.1, 5.0)
    )
    erased = height > 0
    # A hole of 160 pixels fits up to height 8, so up to aspect 8.5^2 / 160 = 0.45: 7 % of draws.
    expected = 1 - (1 - (8.5**2 / 160 - 0.1) / 4.9) ** 10
    assert close(erased, expected, np.sqrt(expected * (1 - expected)))
    assert ((height[erased] + 0.5) * (width[erased] + 0.5) >= 160).all()


def test_erasing_paints_the_fill_and_keeps_the_rest(key):
    """Fails if channels are mixed up, or pixels outside the hole are touched."""
    images = jax.random.uniform(jax.random.key(1), (50, 16, 12, 3))
    fill = jnp.array([2.0, 3.0, 4.0])
    found = random_erasing(probability=1.0, fill=(2.0, 3.0, 4.0))(key, images)
    painted = np.asarray((found == fill.reshape(1, 1, 1, 3)).all(-1))
    assert painted.any((1, 2)).all()
    assert np.array_equal(np.asarray(found)[~painted], np.asarray(images)[~painted])
