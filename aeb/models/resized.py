# SPDX-License-Identifier: Apache-2.0
"""A linen module whose dense and convolutional layers have other widths than it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

__all__ = ["Resized"]


class Resized(nn.Module):
    """A module with some layers made narrower or wider; parameters keep their paths.

    It serves `aeb.shrink`: a residual network has one width a stage, and here each block may have
    its own. While the module runs, the layers named get their new `features`.

    Attributes:
        module: the module that is resized.
        widths: from the path of a layer with a field `features`, such as `block1_1/conv1`, to its
            new value.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from aeb.models import MLP
        >>> net = Resized(MLP(hidden=(50,)), {"fc1": 7})
        >>> params = net.init(jax.random.key(0), jnp.ones((1, 13)))["params"]
        >>> params["fc1"]["kernel"].shape, params["head"]["kernel"].shape
        ((13, 7), (7, 1))
    """

    module: nn.Module
    widths: Mapping[str, int]

    def setup(self) -> None:
        """Give the module this one's place among the parameters."""
        nn.share_scope(self, self.module)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Call the module."""
        depth = len(self.scope.path)

        def resize(
            call: Callable[..., Any], args: Any, options: Any, context: nn.module.InterceptorContext
        ) -> Any:
            layer = context.module
            if context.method_name == "__call__" and hasattr(layer, "features"):
                keys = layer.scope.path[depth:]
                # flax places the layers that are themselves fields under the name of this field.
                for path in ("/".join(keys), "/".join(keys[1:])):
                    if path in self.widths and (path == "/".join(keys) or keys[0] == "module"):
                        # This copy of the layer lives for one call.
                        object.__setattr__(layer, "features", self.widths[path])
                        break
            return call(*args, **options)

        with nn.intercept_methods(resize):
            return self.module(*inputs, **options)
