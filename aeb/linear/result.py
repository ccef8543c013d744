# SPDX-License-Identifier: Apache-2.0
"""The result of `aeb.regression`: the posterior, and methods that answer questions about it."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from aeb import guards
from aeb.evaluation.export import to_arviz
from aeb.guards import some
from aeb.linear import predictive
from aeb.linear.credible_sets import Correlated, CredibleSet, credible_sets
from aeb.linear.frames import Encoding, encode, is_frame
from aeb.linear.models import ModelSize, Subset, model_size, most_probable, select
from aeb.linear.table import as_matrix, as_target

__all__ = ["Regression"]

EMPTY = np.zeros((0, 0))
"""Stands for draws of a parameter that the family does not have."""


class Regression(NamedTuple):
    """The posterior of a sparse regression. Coefficients are in the units of the data.

    Attributes:
        names: the names of the p columns.
        intercept: the posterior mean of the intercept.
        coefficients: f64[p], posterior means, averaged over which columns are in the model.
        inclusion: f64[p], the probability that a column is in the model, that is, that its
            coefficient comes from the wide normal of the prior and not from the narrow one.
        coefficients_if_included: f64[p], posterior means given that the column is in the model.
        interval_if_included: f64[p, 2], central intervals given that the column is in the model.
        interval_averaged: f64[p, 2], central intervals averaged over the column being in the model
            or not. With v0 = 0 they are [0, 0] for a column that hardly ever matters.
        level: the level of both kinds of intervals.
        sigma: the posterior mean of sigma for a row of weight 1, in the unit of y. It is the
            standard deviation of normal noise and the scale of Student's t. For "binomial" and
            "negative_binomial" it is 1.
        r_hat: f64[p], split R-hat of the probability that a column is in the model given the other
            columns; 1 if that stays within .001.
        r_hat_sigma: split R-hat of sigma, or of the intercept where sigma is 1.
        draws: f32[chains, draws, p], equally weighted draws of the coefficients.
        intercept_draws: f64[chains, draws], draws of the intercept.
        sigma_draws: f64[chains, draws], draws of sigma.
        delta: the learned inclusion rate.
        v1: the learned variance of the slab, for standardised columns, in units of sigma^2.
        named: whether `names` came from a data frame or the caller. False if they are x0, x1, ...
        family: the family of the response.
        v0: the variance of a coefficient outside the model, learned or given, in the units of v1.
        included_draws: bool[chains, draws, p], which columns are in the model in each draw. With
            v0 > 0 the other columns have small coefficients, so `draws != 0` does not tell.
        freedom_draws: f64[chains, draws], degrees of freedom of Student's t. Empty for other
            families.
        concentration_draws: f64[chains, draws], r of the negative binomial. Empty for other
            families.
        always: the columns that are always in the model.
        prior_inclusion: f64[p], the probability that a column is in the model before y is seen, at
            the learned rate.
        prior_size: f64[sizes], the probabilities of 0, 1, ... columns in the model before y is
            seen. A group counts as one column. It is empty unless some columns wait for others,
            because otherwise it follows from `prior_inclusion`.
        correlated: the columns most often in the model, and their correlations.
        encoding: how a data frame became columns; None if the data were a matrix.
        group: i64[p], for each column the first column of its group. The columns of a group are in
            the model or out of it together. A column on its own is its own group.

    Example:
        >>> import aeb
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(40, 60))
        >>> fit = aeb.regression(X, 2.0 * X[:, 3] + rng.normal(size=40), num_draws=100)
        >>> [fit.names[j] for j in fit.selected], fit.predict(X[:2]).shape
        (['x3'], (2,))
        >>> mean, interval = fit.predict(X[:2], interval=0.9)
        >>> interval.shape
        (2, 2)
        >>> fit.summary(rows=1).splitlines()[1].split()[0]
        'x3'
        >>> type(fit.plot(columns=3)).__name__
        'Figure'
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
    family: str = "gaussian"
    v0: float = 0.0
    included_draws: np.ndarray = np.zeros((0, 0, 0), bool)
    freedom_draws: np.ndarray = EMPTY
    concentration_draws: np.ndarray = EMPTY
    always: tuple[int, ...] = ()
    prior_inclusion: np.ndarray = EMPTY
    correlated: Correlated = Correlated(np.zeros(0, np.int64), np.zeros((0, 0), np.float32))
    encoding: Encoding | None = None
    prior_size: np.ndarray = np.zeros(0)
    group: np.ndarray = np.zeros(0, np.int64)

    @property
    def selected(self) -> np.ndarray:
        """Columns with an inclusion probability above 1/2, i64[k], the most likely first."""
        order = np.argsort(-self.inclusion, kind="stable")
        return order[self.inclusion[order] > 0.5]

    @overload
    def predict(
        self,
        x: Any,
        offset: Any = None,
        *,
        interval: None = None,
        return_std: Literal[False] = False,
        unknown: str = "error",
    ) -> np.ndarray: ...
    @overload
    def predict(
        self,
        x: Any,
        offset: Any = None,
        *,
        interval: float,
        return_std: Literal[False] = False,
        unknown: str = "error",
    ) -> tuple[np.ndarray, np.ndarray]: ...
    @overload
    def predict(
        self,
        x: Any,
        offset: Any = None,
        *,
        interval: None = None,
        return_std: Literal[True],
        unknown: str = "error",
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def predict(
        self,
        x: Any,
        offset: Any = None,
        *,
        interval: float | None = None,
        return_std: bool = False,
        unknown: str = "error",
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict by the posterior mean, with intervals or standard deviations of a new y.

        Args:
            x: [rows, p], with the columns in the same order and units as in the fit, or a data
                frame with the same columns.
            offset: [rows], added to the linear predictor. A fit with an offset needs one here too;
                without, it is 0.
            interval: a probability in (0, 1). If given, central intervals are returned too.
            return_std: whether to return standard deviations too.
            unknown: what to do with a level of text or a category that the fit has not seen.
                "error" refuses it. "ignore" takes it for the base, the level without a coefficient.

        Returns:
            The mean of y, f64[rows]. With `interval`, a pair of the mean and the interval of a new
            y, f64[rows, 2]. With `return_std`, a pair of the mean and the standard deviation of a
            new y, f64[rows]. Both include the noise, and average over models. If the family is
            binomial, all of these describe the probability of 1. If it is student_t, the standard
            deviation is inf if any draw has two degrees of freedom or fewer; intervals are finite.

        Raises:
            ValueError: the shape is wrong, a number is not finite, an expected count overflows, a
                level is not one of the fit's, both `interval` and `return_std` are given, or the
                columns of a data frame differ from the fitted ones in name or order. Names are not
                compared if the fit had none.
            TypeError: the numbers are not real.

        Example:
            >>> import aeb
            >>> rng = np.random.default_rng(0)
            >>> X = rng.normal(size=(60, 5))
            >>> fit = aeb.regression(X, 3 * X[:, 4] + rng.normal(size=60))
            >>> mean, interval = fit.predict(X[:2], interval=0.9)
            >>> interval.shape
            (2, 2)
        """
        if interval is not None:
            guards.within("interval", interval, "(0, 1)")
            if return_std:
                raise ValueError("interval, return_std: got both, needs at most one; call twice")
        matrix = self._matrix(x, unknown)
        shift = (
            np.zeros(len(matrix)) if offset is None else as_target("offset", offset, len(matrix))
        )
        posterior = self._posterior()
        if self.family in ("gaussian", "student_t"):
            mean = shift + self.intercept + matrix @ self.coefficients
        else:
            mean = predictive.mean(posterior, matrix, shift)
        if return_std:
            return mean, predictive.standard_deviation(posterior, matrix, shift)
        if interval is not None:
            tails = (0.5 - interval / 2, 0.5 + interval / 2)
            return mean, predictive.quantiles(posterior, matrix, shift, tails)
        return mean

    def _matrix(self, x: Any, unknown: str) -> np.ndarray:
        """Read new rows in the form of the fitted ones, f64[rows, p]."""
        p = len(self.names)
        if self.encoding is not None and is_frame(x):
            numbers_only = self.encoding.names == self.encoding.frame_names
            names_at = "fit.names" if numbers_only else "fit.encoding.frame_names"
            _check_names(self.encoding.frame_names, tuple(map(str, x.columns)), names_at)
            return encode("x", x, self.encoding, unknown)
        if self.encoding is not None and getattr(x, "shape", (0, p))[1:] != (p,):
            text = [own.name for own in self.encoding.columns if own.levels is not None]
            if text:
                raise ValueError(
                    f"x: got {type(x).__name__} of shape {x.shape}; in the data frame of the fit, "
                    f"{some(text)} held text or categories, so pass a data frame with the columns "
                    "of fit.encoding.frame_names, and for one row frame.iloc[[0]]"
                )
        matrix, columns = as_matrix("x", x, new=True), getattr(x, "columns", None)
        if columns is not None and self.named:
            _check_names(self.names, tuple(map(str, columns)), "fit.names")
        if matrix.shape[1] != p:
            raise ValueError(f"x: got {matrix.shape[1]} columns, but {p} were fitted")
        return matrix

    def _posterior(self) -> predictive.Posterior:
        return predictive.Posterior(
            self.family,
            self.draws.reshape(-1, self.draws.shape[-1]),
            *(
                draws.ravel()
                for draws in (
                    self.intercept_draws,
                    self.sigma_draws,
                    self.freedom_draws,
                    self.concentration_draws,
                )
            ),
        )

    def _is_free(self) -> np.ndarray:
        """Return which columns are not always in the model, bool[p]."""
        return ~np.isin(np.arange(len(self.names)), self.always)

    def _included(self) -> np.ndarray:
        """Return which columns are in the model in each draw, bool[all draws, p]."""
        return self.included_draws.reshape(-1, len(self.names))

    def _first(self) -> np.ndarray:
        """Return the first column of each group, i64[groups]."""
        return np.flatnonzero(self.group == np.arange(len(self.names)))

    def _whole(self, first: np.ndarray) -> np.ndarray:
        """Return all columns of the groups that begin with these, in the same order."""
        return np.concatenate(
            [np.zeros(0, np.int64), *(np.flatnonzero(self.group == j) for j in first)]
        )

    def models(self, count: int = 10) -> tuple[Subset, ...]:
        """Return the most probable models, that is, sets of columns.

        Args:
            count: the largest number of models to return, at least 1.

        Returns:
            `Subset(columns, names, probability)`s, the most probable first. The probability of a
            model is its share of the draws.

        Example:
            >>> import aeb
            >>> rng = np.random.default_rng(0)
            >>> X = rng.normal(size=(60, 5))
            >>> fit = aeb.regression(X, 3 * X[:, 4] + rng.normal(size=60))
            >>> fit.models(1)[0].names
            ('x4',)
        """
        guards.whole("count", count, 1)
        return most_probable(self._included(), self.names, count)

    def select(self, fdr: float = 0.1) -> np.ndarray:
        """Return the longest list of columns whose false discovery rate is at most `fdr`.

        Args:
            fdr: the Bayesian false discovery rate, in (0, 1). It is the probability that a column
                is *not* in the model, averaged over the list.

        Returns:
            i64[k], the most likely first, without the columns that are always in. A group is listed
            as a whole, and counts as one column.

        Example:
            >>> import aeb
            >>> rng = np.random.default_rng(0)
            >>> X = rng.normal(size=(60, 5))
            >>> fit = aeb.regression(X, 3 * X[:, 4] + rng.normal(size=60))
            >>> fit.select(fdr=0.1).tolist()
            [4]
        """
        guards.within("fdr", fdr, "(0, 1)")
        first = self._first()
        chances = np.where(self._is_free(), self.inclusion, 0.0)[first]
        return self._whole(first[select(chances, fdr)])

    @property
    def model_size(self) -> ModelSize:
        """The prior and posterior probabilities of 0, 1, ... columns in the model.

        A group counts as one column.
        """
        first, prior = self._first(), self.prior_size
        return model_size(
            self._included()[:, first], self.prior_inclusion[first], prior if len(prior) else None
        )

    def credible_sets(
        self, level: float = 0.95, purity: float = 0.5, existence: float | None = None
    ) -> tuple[CredibleSet, ...]:
        """Return sets of columns that each contain a column of the model, at probability `level`.

        Nearly equal columns share their inclusion probability, so perhaps none of them is likely by
        itself. `aeb.linear.credible_sets` defines the sets exactly.

        Args:
            level: the least probability that a set contains a column of the model, in (0, 1).
            purity: the least absolute correlation between two columns of a set, in [0, 1].
            existence: None counts the doubt whether there is an effect at all. With a number in
                (0, 1], `level` is conditional, as it is in SuSiE: a set contains a column of the
                model with that probability if there is one near, and begins where there is one with
                a probability of at least `existence`. Such sets are smaller, and more. Read
                `probability`, which is not conditional, beside each.

        Returns:
            `CredibleSet(columns, names, probability, purity)`s, in the order of their leading
            columns. The sets are disjoint. A group is in a set as a whole or not at all.

        Example:
            >>> import aeb
            >>> rng = np.random.default_rng(0)
            >>> X = rng.normal(size=(60, 40))
            >>> X[:, 3] = X[:, 4]
            >>> fit = aeb.regression(X, 3 * X[:, 4] + rng.normal(size=60))
            >>> sorted(fit.credible_sets()[0].names)
            ['x3', 'x4']
        """
        guards.within("level", level, "(0, 1)")
        guards.within("purity", purity, "[0, 1]")
        if existence is not None:
            guards.within("existence", existence, "(0, 1]")
        found = credible_sets(
            self._included(),
            self.correlated,
            self.names,
            level=level,
            purity=purity,
            existence=existence,
        )
        return tuple(self._with_groups(own) for own in found)

    def _with_groups(self, found: CredibleSet) -> CredibleSet:
        columns = self._whole(found.columns)
        return found._replace(columns=columns, names=tuple(self.names[j] for j in columns))

    def to_arviz(self) -> Any:
        """Convert the draws for ArviZ, 0.23 or 1.x. Needs `pip install arviz`.

        Returns:
            What `aeb.to_arviz` returns. `posterior` has `coefficient` and `included`, with
            dimensions (chain, draw, column). With dimensions (chain, draw) it has `intercept`,
            `sigma`, and `freedom` or `concentration` if the family has them. The columns are
            labelled by name.

        Raises:
            ImportError: ArviZ is not installed.
        """
        named = {
            "coefficient": self.draws,
            "included": self.included_draws.astype(np.float32),
            "intercept": self.intercept_draws,
            "sigma": self.sigma_draws,
            "freedom": self.freedom_draws,
            "concentration": self.concentration_draws,
        }
        return to_arviz(
            {name: draws for name, draws in named.items() if draws.size},
            chains=True,
            coords={"column": list(self.names)},
            dims={"coefficient": ["column"], "included": ["column"]},
        )

    def plot(self, columns: int = 10) -> Any:
        """Plot the result in four panels. Needs matplotlib.

        Args:
            columns: the number of columns whose intervals to show, at least 1.

        Returns:
            A `matplotlib.figure.Figure`. Its panels show the inclusion probabilities with the
            credible sets; the intervals of the leading columns; the prior and posterior number of
            columns in the model; and the traces of that number and of sigma, one line per chain.
            If the family has no sigma, the trace of the intercept takes its place.
        """
        from aeb.linear.plot import plot  # matplotlib takes a second

        guards.whole("columns", columns, 1)
        return plot(self, columns)

    def __repr__(self) -> str:
        chosen = ", ".join(self.names[j] for j in self.selected[:5])
        more = f" and {len(self.selected) - 5} more" if len(self.selected) > 5 else ""
        return (
            f"Regression({len(self.names):,} columns, {len(self.selected)} of them likely in the "
            f"model{': ' if chosen else ''}{chosen}{more}; sigma {self.sigma:.4g}, largest R-hat "
            f"{self.largest_r_hat:.3f})"
        )

    def summary(self, rows: int = 10) -> str:
        """Return a table of the columns, the most likely first.

        Args:
            rows: the number of columns to show, at least 1.

        Returns:
            Text with one line per column.

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
        hidden = len(self.selected) - rows
        left_out = f", {hidden} of them not shown: raise rows" if hidden > 0 else ""
        lines += [
            f"{len(self.selected)} of {p:,} columns with inclusion above 0.5{left_out}{more}",
            f"sigma {self.sigma:.4g}, intercept {self.intercept:.4g}; {chains} chains of {draws} "
            f"draws, largest R-hat {self.largest_r_hat:.3f}",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the table and the credible sets as HTML, for notebooks."""
        order = np.argsort(-self.inclusion, kind="stable")[:10]
        level = f"{100 * self.level:g}% interval"
        heads = ["column", "inclusion", "mean", level, "if included", level, "R-hat"]
        rows = [
            [
                html.escape(self.names[j]),
                f"{self.inclusion[j]:.3f}",
                f"{self.coefficients[j]:.4g}",
                html.escape(_pair(self.interval_averaged[j])),
                f"{self.coefficients_if_included[j]:.4g}",
                html.escape(_pair(self.interval_if_included[j])),
                f"{self.r_hat[j]:.3f}",
            ]
            for j in order
        ]
        sets = [
            f"{html.escape(', '.join(own.names))} (probability {own.probability:.2f}, least "
            f"correlation {own.purity:.2f})"
            for own in self.credible_sets()
            if len(own.columns) > 1
        ]
        found = f"<p>Stand for each other: {'; '.join(sets)}</p>" if sets else ""
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        head = "".join(f"<th>{cell}</th>" for cell in heads)
        return (
            f"<p>{html.escape(repr(self))}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{found}"
        )

    @property
    def largest_r_hat(self) -> float:
        """The largest R-hat, including that of sigma."""
        return float(max(self.r_hat.max(), self.r_hat_sigma))


def _check_names(fitted: tuple[str, ...], given: tuple[str, ...], names_at: str) -> None:
    """Check that the columns are the fitted ones, in the same order.

    A category has one column in a frame and several in `fit.names`, so the message says where the
    names of the frame's columns are.
    """
    if given == fitted:
        return
    if sorted(given) == sorted(fitted):
        first = next(j for j, name in enumerate(given) if name != fitted[j])
        raise ValueError(
            f"x: its columns are in another order than those fitted, column {first} is "
            f"{given[first]!r} and was {fitted[first]!r}; pass x[list({names_at})]"
        )
    twice = [name for name, count in Counter(given).items() if count > fitted.count(name)]
    if set(given) == set(fitted) and twice:
        raise ValueError(
            f"x: it has {some(twice)} more often than was fitted; leave out what is double"
        )
    missing = [name for name in fitted if name not in given]
    others = [name for name in given if name not in fitted]
    both = [f"lacks {some(missing)}"] * bool(missing) + [f"has {some(others)}"] * bool(others)
    if not missing:
        advice = f"pass x[list({names_at})]"
    elif names_at == "fit.names":
        advice = (
            "rename or choose them, or pass x.to_numpy() if they stand in the order of fit.names"
        )
    else:
        advice = f"the fit had those of {names_at}; rename or choose them"
    raise ValueError(f"x: its columns are not those fitted, it {' and '.join(both)}; {advice}")


def _pair(interval: np.ndarray) -> str:
    return f"[{interval[0]:>9.4g}, {interval[1]:>8.4g}]"
