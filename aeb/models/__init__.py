# SPDX-License-Identifier: Apache-2.0
"""Flax modules of the experiments, and the losses that the samplers take."""

from aeb.models.authors import load_authors_resnet20
from aeb.models.cnn import CNN, CNNBN
from aeb.models.losses import make_loss
from aeb.models.mlp import MLP
from aeb.models.resized import Resized
from aeb.models.resnet import ResNet
from aeb.xla.convolution import conv_general_dilated
from aeb.xla.pooling import max_pool

__all__ = [
    "CNN",
    "CNNBN",
    "MLP",
    "ResNet",
    "Resized",
    "conv_general_dilated",
    "load_authors_resnet20",
    "make_loss",
    "max_pool",
]
