# SPDX-License-Identifier: Apache-2.0
"""The CNN and the ResNet of `aeb.models` in PyTorch, and training steps on them.

`sgd` is PyTorch's own SGD with momentum. `sampler` is Algorithm 1 of the paper written in PyTorch
as one would: SGHMC, the latents of each weight tensor by elementwise formulas, and 90 % of the
weights pruned by one threshold over all of them, at every step.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from aeb.models import CNN, ResNet
from benchmarks.speed.nets import NETS

FRICTION, SPARSITY, V0, V1 = 0.1, 0.9, 0.01, 1.0


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def make_net(net: str) -> Any:
    """Make a module that has as many parameters as that of `nets`."""
    module, (side, _, _) = NETS[net]
    return _cnn(module, side) if isinstance(module, CNN) else _resnet(module)


def _cnn(module: CNN, side: int) -> Any:
    layers: list[Any] = []
    before, size = 1, module.kernel_size
    for width in module.channels:
        layers += [nn.Conv2d(before, width, size, padding=size // 2), nn.ReLU(), nn.MaxPool2d(2)]
        before, side = width, side // 2
    layers += [nn.Flatten(), nn.Linear(before * side * side, module.hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(module.hidden, 10))


def _resnet(module: ResNet) -> Any:
    before = module.widths[0]
    layers = [nn.Conv2d(3, before, 3, 1, 1, bias=False), nn.BatchNorm2d(before), nn.ReLU()]
    for stage, width in enumerate(module.widths):
        for number in range((module.depth - 2) // 6):
            layers.append(Block(before, width, 2 if stage and not number else 1))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def sgd(net: Any, batch: Any, rate: float) -> Callable[[], None]:
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(net(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def sampler(net: Any, batch: Any, rate: float, num_data: float) -> Callable[[], None]:
    loss = nn.CrossEntropyLoss()
    parameters = list(net.parameters())
    sparse = [p for p in parameters if p.ndim > 1]
    state = {
        p: {
            "r": torch.zeros_like(p),
            "rho": torch.full_like(p, 0.5),
            "kappa0": torch.full_like(p, 0.5 / V0),
            "kappa1": torch.full_like(p, 0.5 / V1),
            "delta": torch.tensor(0.5),
        }
        for p in parameters
    }
    sigma = torch.tensor(1.0)
    size = sum(p.numel() for p in sparse)
    zeros = round(SPARSITY * size)
    eps = rate / num_data
    taken = 0

    @torch.no_grad()
    def move() -> None:
        nonlocal sigma, taken
        gain = min(1.0, (10.0 + taken) ** -0.7)
        taken += 1
        for p in parameters:
            held = state[p]
            score = -num_data * p.grad
            if p.ndim > 1:
                score -= held["kappa0"] * p.sign() / sigma + held["kappa1"] * p / sigma**2
            held["r"].mul_(1.0 - FRICTION).add_(score, alpha=eps)
            held["r"].add_(torch.randn_like(p), alpha=math.sqrt(2.0 * eps * FRICTION * 1e-2))
            p.add_(held["r"])
        linear, quadratic = torch.tensor(0.0), torch.tensor(0.0)
        for p in sparse:
            held = state[p]
            scaled = p.abs() / sigma
            slab = held["delta"].log() - 0.5 * scaled**2 / V1 - 0.5 * math.log(2 * math.pi * V1)
            spike = torch.log1p(-held["delta"]) - scaled / V0 - math.log(2 * V0)
            held["rho"].lerp_(torch.sigmoid(slab - spike), gain)
            held["kappa0"].lerp_((1.0 - held["rho"]) / V0, gain)
            held["kappa1"].lerp_(held["rho"] / V1, gain)
            linear += (held["kappa0"] * p.abs()).sum()
            quadratic += (held["kappa1"] * p * p).sum()
            rate_of = (held["rho"].sum() + 1.0) / (p.numel() + 2.0)
            held["delta"] = held["delta"] + gain * (rate_of - held["delta"])
        leading = size + 3.0
        root = torch.sqrt(linear**2 + 4.0 * leading * (quadratic + 1.0))
        sigma = sigma + gain * ((linear + root) / (2.0 * leading) - sigma)
        threshold = torch.cat([p.abs().flatten() for p in sparse]).kthvalue(zeros).values
        for p in sparse:
            p.mul_(p.abs() > threshold)

    def step() -> None:
        net.zero_grad()
        loss(net(batch[0]), batch[1]).backward()
        move()

    return step
