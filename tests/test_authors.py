# SPDX-License-Identifier: Apache-2.0
"""The authors' network against a forward pass in numpy that reads the PyTorch names itself."""

import os

import jax
import numpy as np
import pytest

from aeb.data import DataError, normalizer
from aeb.data.files import read_npz, write_npz
from aeb.models import ResNet, load_authors_resnet20

FILE = "checkpoints/resnet20_cifar10_dense_authors.npz"


def conv(x, weight, stride=1):
    """Correlate [B, C, H, W] with OIHW weights, padding kernel // 2 at each side, as PyTorch."""
    side = weight.shape[2]
    pad = side // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = ((n - side) // stride + 1 for n in x.shape[2:])
    out = 0
    for i in range(side):
        for j in range(side):
            window = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            out = out + np.einsum("bchw,oc->bohw", window, weight[:, :, i, j])
    return out


def oracle(tensors, images):
    """Run ResNet20 in float64 on [B, H, W, C]; as published, from the PyTorch tensors."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def norm(x, name):
        w, b, m, v = (
            t[f"{name}.{s}"][:, None, None]
            for s in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - m) / np.sqrt(v + 1e-5) * w + b

    def relu(x):
        return np.maximum(x, 0)

    x = images.astype(np.float64).transpose(0, 3, 1, 2)
    x = relu(norm(conv(x, t["conv1.weight"]), "bn1"))
    for stage in (1, 2, 3):
        for number in (0, 1, 2):
            name = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            y = relu(norm(conv(x, t[f"{name}.conv1.weight"], stride), f"{name}.bn1"))
            y = norm(conv(y, t[f"{name}.conv2.weight"]), f"{name}.bn2")
            if stride == 2:
                x = conv(x, t[f"{name}.downsample.0.weight"], stride)
                x = norm(x, f"{name}.downsample.1")
            x = relu(x + y)
    return x.mean((2, 3)) @ t["fc.weight"].T + t["fc.bias"]


def random_tensors(seed=0):
    """Draw a ResNet20 under its PyTorch names, with moments far from where BatchNorm starts."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def add_conv(name, out, into, side):
        scale = np.sqrt(2 / (into * side**2))
        tensors[f"{name}.weight"] = rng.normal(size=(out, into, side, side)) * scale

    def add_norm(name, width):
        tensors[f"{name}.weight"] = rng.uniform(0.5, 1.0, width)
        tensors[f"{name}.bias"] = rng.normal(size=width) * 0.2
        tensors[f"{name}.running_mean"] = rng.normal(size=width) * 0.5
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 2.0, width)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    add_conv("conv1", 16, 3, 3)
    add_norm("bn1", 16)
    into = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for number in range(3):
            name = f"layer{stage}.{number}"
            add_conv(f"{name}.conv1", width, into, 3)
            add_norm(f"{name}.bn1", width)
            add_conv(f"{name}.conv2", width, width, 3)
            add_norm(f"{name}.bn2", width)
            if into != width:
                add_conv(f"{name}.downsample.0", width, into, 1)
                add_norm(f"{name}.downsample.1", width)
            into = width
    tensors["fc.weight"] = rng.normal(size=(10, 64)) / 8
    tensors["fc.bias"] = rng.normal(size=10)
    return {
        name: x.astype(np.float32) if x.dtype == np.float64 else x for name, x in tensors.items()
    }


def logits(path, images):
    params, batch_stats = load_authors_resnet20(path)
    variables = {"params": params, "batch_stats": batch_stats}
    return np.asarray(jax.jit(ResNet().apply)(variables, images))


def test_forward_pass_against_numpy(tmp_path):
    """Fails if padding, stride, epsilon, a transpose or a name is wrong; needs no data."""
    tensors = random_tensors()
    write_npz(tmp_path / "net.npz", tensors)
    images = np.random.default_rng(1).normal(size=(3, 32, 32, 3)).astype(np.float32)
    expected = oracle(tensors, images)
    assert expected.std() > 0.1
    found = logits(tmp_path / "net.npz", images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("layer2.0.downsample.0.weight", None, "no tensor 'layer2.0.downsample.0.weight'"),
        ("fc.weight", np.ones((64, 10), np.float32), r"'fc.weight' has shape \(64, 10\).*\(64, 10"),
        ("bn1.bias", np.ones(15, np.float32), r"'bn1.bias' has shape \(15,\).*\(16,\)"),
        ("layer3.3.conv1.weight", np.ones(1, np.float32), "'layer3.3.conv1.weight' has no place"),
        ("fc.bias", np.full(10, np.nan, np.float32), "'fc.bias' holds more than finite floats"),
        ("fc.bias", np.arange(10), "'fc.bias' holds more than finite floats"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, name, tensor, message):
    """Fails if any one of the checks is dropped."""
    tensors = random_tensors()
    tensors[name] = tensor
    path = tmp_path / "net.npz"
    write_npz(path, {n: x for n, x in tensors.items() if x is not None})
    with pytest.raises(DataError, match=message) as caught:
        load_authors_resnet20(path)
    assert str(path) in str(caught.value)


def test_missing_or_damaged_file_is_named(tmp_path, monkeypatch):
    """Fails if AEB_DATA_DIR is not read, or a message leaves out the file."""
    monkeypatch.delenv("AEB_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=f"AEB_DATA_DIR.*{FILE}"):
        load_authors_resnet20()
    monkeypatch.setenv("AEB_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=f"{tmp_path}/{FILE}: no such file"):
        load_authors_resnet20()
    write_npz(tmp_path / FILE, random_tensors())
    load_authors_resnet20()
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:5000])
    with pytest.raises(DataError, match=f"{FILE}: damaged"):
        load_authors_resnet20()


@pytest.mark.data
@pytest.mark.slow
def test_released_network_is_right_on_9412_of_10000_test_images():
    """Fails if the pixels are normalised otherwise, or a BatchNorm's constants are off."""
    import tensorflow_datasets as tfds

    root, data_dir = os.environ.get("AEB_DATA_DIR"), os.environ.get("TFDS_DATA_DIR")
    if not (root and data_dir):
        pytest.skip("AEB_DATA_DIR and TFDS_DATA_DIR are not both set")
    rows = list(tfds.data_source("cifar10", split="test", data_dir=data_dir))
    pixels = np.stack([row["image"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    normalize = normalizer("cifar10")
    params, batch_stats = load_authors_resnet20()
    variables = {"params": params, "batch_stats": batch_stats}
    apply = jax.jit(lambda images: ResNet().apply(variables, normalize(images)))
    found = np.concatenate([np.asarray(apply(part)) for part in np.split(pixels, 20)])
    expected = oracle(read_npz(os.path.join(root, FILE)), np.asarray(normalize(pixels[:4])))
    np.testing.assert_allclose(found[:4], expected, atol=2e-4)
    right = (found.argmax(1) == labels).sum()
    assert abs(right - 9412) <= 2, right  # two images for the rounding of another machine
