# SPDX-License-Identifier: Apache-2.0
"""What `aeb.regression` returns, and its table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aeb import guards
from aeb.guards import some
from aeb.linear.table import as_matrix

__all__ = ["Regression"]


class Regression(NamedTuple):
    """The posterior of a sparse linear regression; coefficients are in the units of the data.

    Attributes:
        names: the p names of the columns.
        intercept: posterior mean.
        coefficients: f64[p], posterior means, averaged over which columns are in the model.
        inclusion: f64[p], the probability that a column is in the model: that its coefficient comes
            from the prior's wide normal and not from the narrow one.
        coefficients_if_included: f64[p], posterior means given that the column is in the model.
        interval_if_included: f64[p, 2], central intervals given that.
        interval_averaged: f64[p, 2], central intervals of the coefficients whether in the model or
            not. With v0 = 0 they are [0, 0] for a column that hardly ever matters.
        level: of both intervals.
        sigma: posterior mean of the standard deviation of the noise, in the unit of y.
        r_hat: f64[p], split R-hat of the inclusion probability of each column given the others in
            the model; 1 where it never changes.
        r_hat_sigma: split R-hat of sigma.
        draws: f32[chains, draws, p], of the coefficients, all of equal weight.
        intercept_draws: f64[chains, draws].
        sigma_draws: f64[chains, draws].
        delta: the inclusion rate that was learned.
        v1: the variance of the slab that was learned, for standardised columns and in units of
            sigma^2.
        named: whether `names` were given, by a data frame or by hand, and are not x0, x1, ...
        v0: the variance of a coefficient that is left out, learned or given, in the units of v1.
        included_draws: bool[chains, draws, p], which columns were in the model at each draw. With
            v0 > 0 the others have small coefficients, so that `draws != 0` does not tell.
    """

    names: tuple[str, ...]
    intercept: float
    coefficients: np.ndarray
    inclusion: np.ndarray
    coefficients_if_included: np.ndarray
    interval_if_included: np.ndarray
    interval_averaged: np.ndarray
    level: float
    sigma: float
    r_hat: np.ndarray
    r_hat_sigma: float
    draws: np.ndarray
    intercept_draws: np.ndarray
    sigma_draws: np.ndarray
    delta: float
    v1: float
    named: bool = True
    v0: float = 0.0
    included_draws: np.ndarray = np.zeros((0, 0, 0), bool)

    @property
    def selected(self) -> np.ndarray:
        """The columns more likely in the model than not, i64[k], the most likely first."""
        order = np.argsort(-self.inclusion, kind="stable")
        return order[self.inclusion[order] > 0.5]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict by the posterior mean.

        Args:
            x: [rows, p], in the order and the units of the columns that were fitted.

        Returns:
            f64[rows].

        Raises:
            ValueError: the shape is wrong, a number is not finite, or the columns of a data frame
                have other names than those fitted, or another order. Where no names were given at
                the fit, those of a data frame are not looked at.
            TypeError: the numbers are not real.
        """
        matrix = as_matrix("x", x)
        columns = getattr(x, "columns", None)
        if columns is not None and self.named:
            _check_names(self.names, tuple(str(name) for name in columns))
        if matrix.shape[1] != len(self.coefficients):
            raise ValueError(
                f"x: got {matrix.shape[1]} columns, but {len(self.coefficients)} were fitted"
            )
        return self.intercept + matrix @ self.coefficients

    def __repr__(self) -> str:
        chosen = ", ".join(self.names[j] for j in self.selected[:5])
        more = f" and {len(self.selected) - 5} more" if len(self.selected) > 5 else ""
        return (
            f"Regression({len(self.names):,} columns, {len(self.selected)} of them likely in the "
            f"model{': ' if chosen else ''}{chosen}{more}; sigma {self.sigma:.4g}, largest R-hat "
            f"{self.largest_r_hat:.3f})"
        )

    def summary(self, rows: int = 10) -> str:
        """Make a table of the columns, the most likely first.

        Args:
            rows: how many columns to show, at least 1.

        Returns:
            Text, a line a column.

        Raises:
            ValueError: `rows` is below 1.
        """
        guards.whole("rows", rows, 1)
        order = np.argsort(-self.inclusion, kind="stable")[:rows]
        width = max([len("column"), *(len(self.names[j]) for j in order)])
        interval = f"{100 * self.level:g}% interval"
        heads = f"{'column':<{width}} {'inclusion':>9} {'mean':>10} {interval:>21}"
        lines = [f"{heads}  {'if included':>10} {interval:>21} {'R-hat':>6}"]
        for j in order:
            lines.append(
                f"{self.names[j]:<{width}} {self.inclusion[j]:>9.3f} {self.coefficients[j]:>10.4g} "
                f"{_pair(self.interval_averaged[j])}  {self.coefficients_if_included[j]:>10.4g} "
                f"{_pair(self.interval_if_included[j])} {self.r_hat[j]:>6.3f}"
            )
        chains, draws, p = self.draws.shape
        more = ""
        if p > len(order):
            rest = np.delete(self.inclusion, order).max()
            left = p - len(order)
            more = f"; {left:,} more column{'s' * (left > 1)}, inclusion {rest:.3f} or less"
        lines.append(
            f"{len(self.selected)} of {p:,} columns with inclusion above 0.5; "
            f"sigma {self.sigma:.4g}, intercept {self.intercept:.4g}; "
            f"{chains} chains of {draws} draws, largest R-hat {self.largest_r_hat:.3f}" + more
        )
        return "\n".join(lines)

    @property
    def largest_r_hat(self) -> float:
        """The largest R-hat, that of sigma included."""
        return float(max(self.r_hat.max(), self.r_hat_sigma))


def _check_names(fitted: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Require the columns that were fitted, in their order."""
    if given == fitted:
        return
    if sorted(given) == sorted(fitted):
        first = next(j for j, name in enumerate(given) if name != fitted[j])
        raise ValueError(
            f"x: its columns are in another order than those fitted, column {first} is "
            f"{given[first]!r} and was {fitted[first]!r}; pass x[list(fit.names)]"
        )
    missing = [name for name in fitted if name not in given]
    others = [name for name in given if name not in fitted]
    both = [f"lacks {some(missing)}"] * bool(missing) + [f"has {some(others)}"] * bool(others)
    raise ValueError(
        f"x: its columns are not those fitted, it {' and '.join(both)}; rename or choose them, or "
        "pass x.to_numpy() if they stand in the order of fit.names"
    )


def _pair(interval: np.ndarray) -> str:
    return f"[{interval[0]:>9.4g}, {interval[1]:>8.4g}]"
