# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` as scikit-learn estimators, for pipelines, searches and cross-validation.

They differ from the function in three ways, all of them conventions of scikit-learn:

- A column may be constant, as happens within a fold. It stays out of the model, with coefficient 0.
  The function refuses such a column.
- The seed is `random_state`. By default it is 0, so the same call gives the same answer.
- Fitted attributes end in an underscore. `result_` is the whole `Regression`.

`sample_weight` follows scikit-learn too: a row of weight 2 counts as two such rows, and a row of
weight 0 as none. It is `repeats` of the function, not its `weights`, which say how precise a row
is. Only the function takes those, and offsets. This module needs scikit-learn, so `import aeb`
does not import it. The first use of `aeb.SparseRegressor` or `aeb.SparseClassifier` does.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    check_X_y,
    validate_data,
)

from aeb import guards
from aeb.linear import frames
from aeb.linear.credible_sets import Correlated
from aeb.linear.design import read_design, restrict
from aeb.linear.regression import MOST_COUNTED, regression
from aeb.linear.result import Regression
from aeb.linear.table import check_form, column_names, dense, is_constant

__all__ = ["SparseClassifier", "SparseRegressor"]

SHARED = ("level", "num_chains", "num_draws", "warmup", "thinning", "v1", "v0")
"""Settings that both estimators pass to `aeb.regression` under the same names."""

DESIGN = ("always", "groups", "requires", "heredity", "inclusion_odds")
"""Settings that describe the columns."""

OWN = ("family", "nu", "lam", "freedom", "concentration")
"""Settings of the regressor alone."""


class _Sparse(BaseEstimator):
    """The settings that both estimators share."""

    _encoding: frames.Encoding | None

    def __init__(
        self,
        *,
        expected_size: float | None = None,
        always: Any = None,
        groups: Any = None,
        requires: Any = None,
        heredity: str = "strong",
        inclusion_odds: Any = None,
        level: float = 0.9,
        num_chains: int = 4,
        num_draws: int = 250,
        warmup: int = 125,
        thinning: int | None = None,
        v1: float = 0.3,
        v0: float | None = None,
        unknown: str = "error",
        random_state: Any = 0,
    ) -> None:
        self.expected_size = expected_size
        self.always = always
        self.groups = groups
        self.requires = requires
        self.heredity = heredity
        self.inclusion_odds = inclusion_odds
        self.level = level
        self.num_chains = num_chains
        self.num_draws = num_draws
        self.warmup = warmup
        self.thinning = thinning
        self.v1 = v1
        self.v0 = v0
        self.unknown = unknown
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class SparseRegressor(RegressorMixin, _Sparse):
    """Sparse regression with its uncertainty, as a scikit-learn estimator.

    Args:
        family: "gaussian", "student_t" or "negative_binomial".
        expected_size: how many columns the prior expects in the model.
        always: columns that are always in the model: names, indices or bool[p].
        groups: [p], a label for each column, or a mapping from labels to columns; those with the
            same label enter together.
        requires: a mapping from a column to those that have to be in the model before it.
        heredity: "strong" if all of those have to be, "weak" if one is enough.
        inclusion_odds: [p], factors of the prior odds of each column, or a mapping from some.
        level: the level of the intervals in `result_`, in (0, 1).
        num_chains: chains, from different starts.
        num_draws: draws kept of each chain.
        warmup: draws left out before them.
        thinning: changes of the model for each draw.
        v1: guess of the variance of a coefficient in the model.
        v0: variance of one that is left out; None learns it.
        nu: the number of observations that the prior of sigma^2 counts as.
        lam: a guess of sigma^2 divided by the variance of y.
        freedom: the degrees of freedom of "student_t"; None learns them.
        concentration: r of "negative_binomial"; None learns it.
        unknown: "error" or "ignore": what `predict` does with a level of text or a category that
            the fit has not seen, as in `Regression.predict`. A fold may miss a rare level.
        random_state: an int, a `numpy.random.RandomState`, or None for a different seed each time.

    `aeb.regression` describes each setting in full.

    Attributes:
        result_: the `Regression`, with its tables, credible sets, plots and draws.
        coef_: f64[p], posterior means of the coefficients.
        intercept_: the posterior mean of the intercept.
        inclusion_: f64[p], the probability that a column is in the model.
        n_features_in_: the number of columns of X.
        feature_names_in_: their names, if X was a data frame and all its names are text. If the
            frame had text or categories, `result_.names` lists the columns that they became.

    Example:
        >>> import pytest; _ = pytest.importorskip("sklearn")
        >>> import aeb
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 8))
        >>> y = 3 * X[:, 4] + rng.normal(size=60)
        >>> model = aeb.SparseRegressor(num_draws=50).fit(X, y)
        >>> bool(model.inclusion_[4] > 0.99)
        True
        >>> mean, std = model.predict(X[:5], return_std=True)
        >>> model.predict_interval(X[:5], level=0.8).shape
        (5, 2)
    """

    result_: Regression

    def __init__(
        self,
        *,
        family: str = "gaussian",
        expected_size: float | None = None,
        always: Any = None,
        groups: Any = None,
        requires: Any = None,
        heredity: str = "strong",
        inclusion_odds: Any = None,
        level: float = 0.9,
        num_chains: int = 4,
        num_draws: int = 250,
        warmup: int = 125,
        thinning: int | None = None,
        v1: float = 0.3,
        v0: float | None = None,
        nu: float = 1.0,
        lam: float = 1e-4,
        freedom: float | None = None,
        concentration: float | None = None,
        unknown: str = "error",
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            expected_size=expected_size,
            always=always,
            groups=groups,
            requires=requires,
            heredity=heredity,
            inclusion_odds=inclusion_odds,
            level=level,
            num_chains=num_chains,
            num_draws=num_draws,
            warmup=warmup,
            thinning=thinning,
            v1=v1,
            v0=v0,
            unknown=unknown,
            random_state=random_state,
        )
        self.family = family
        self.nu = nu
        self.lam = lam
        self.freedom = freedom
        self.concentration = concentration

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SparseRegressor:
        """Fit the model.

        Args:
            X: [n, p], an array, a sparse matrix or a data frame, of 3 rows or more.
            y: [n].
            sample_weight: [n], at least 0, how often each row counts. Their sum stands for the
                number of rows, so it matters: doubling all weights narrows the intervals. It has to
                be 3 to 1e7.

        Returns:
            The estimator itself.

        Raises:
            ValueError: the data are of the wrong shape, values are missing, or no column varies.
        """
        if self.family == "binomial":
            raise ValueError("family: got 'binomial', needs aeb.SparseClassifier")
        matrix, y, repeats, names = _learn(self, X, y, sample_weight)
        settings = {name: getattr(self, name) for name in OWN}
        self.result_ = _fit(self, matrix, y, repeats, names, settings)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict by the posterior mean.

        Args:
            X: [rows, p].
            return_std: whether to return the standard deviation of a new y too, noise included.

        Returns:
            The mean of y, f64[rows]. With `return_std`, a pair of the mean and the standard
            deviation.
        """
        matrix = _read(self, X)
        if return_std:
            return self.result_.predict(matrix, return_std=True)
        return self.result_.predict(matrix)

    def predict_interval(self, X: Any, level: float = 0.9) -> np.ndarray:
        """Return central intervals of a new y, noise included.

        Args:
            X: [rows, p].
            level: the probability that an interval holds the new y, in (0, 1).

        Returns:
            f64[rows, 2].
        """
        matrix = _read(self, X)
        return self.result_.predict(matrix, interval=level)[1]

    @property
    def coef_(self) -> np.ndarray:
        """f64[p], posterior means of the coefficients."""
        return self.result_.coefficients

    @property
    def inclusion_(self) -> np.ndarray:
        """f64[p], the probability that a column is in the model."""
        return self.result_.inclusion

    @property
    def intercept_(self) -> float:
        """Posterior mean of the intercept."""
        return self.result_.intercept


class SparseClassifier(ClassifierMixin, _Sparse):
    """Sparse logistic regression with its uncertainty, as a scikit-learn estimator.

    With more than two classes, each class is fitted against the rest (one-vs-rest), and selects its
    own columns. The probabilities are divided by their sum, so they add up to 1. They are not the
    posterior of one model of all classes.

    Args:
        expected_size: how many columns the prior expects in the model.
        always: columns that are always in the model: names, indices or bool[p].
        groups: [p], a label for each column, or a mapping from labels to columns; those with the
            same label enter together.
        requires: a mapping from a column to those that have to be in the model before it.
        heredity: "strong" if all of those have to be, "weak" if one is enough.
        inclusion_odds: [p], factors of the prior odds of each column, or a mapping from some.
        level: the level of the intervals in `result_`, in (0, 1).
        num_chains: chains, from different starts.
        num_draws: draws kept of each chain.
        warmup: draws left out before them.
        thinning: changes of the model for each draw.
        v1: guess of the variance of a coefficient in the model.
        v0: variance of one that is left out; None learns it.
        unknown: "error" or "ignore": what `predict` does with a level of text or a category that
            the fit has not seen, as in `Regression.predict`. A fold may miss a rare level.
        random_state: an int, a `numpy.random.RandomState`, or None for a different seed each time.

    `aeb.regression` describes each setting in full.

    Attributes:
        classes_: [K], the labels.
        results_: the `Regression`s. With two labels there is one, for the probability of the second
            label. With more there is one per label, against the rest.
        result_: the only `Regression`, if there are two labels.
        coef_: posterior means of the coefficients, f64[1, p], or f64[K, p] with more than two
            labels.
        intercept_: posterior means of the intercepts, f64[1] or f64[K].
        inclusion_: the probability that a column is in the model, f64[p], or f64[K, p] with more
            than two labels.
        n_features_in_: the number of columns of X.
        feature_names_in_: their names, as for `SparseRegressor`.

    Example:
        >>> import pytest; _ = pytest.importorskip("sklearn")
        >>> import aeb
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 8))
        >>> y = np.where(3 * X[:, 4] + rng.logistic(size=100) > 0, "ill", "well")
        >>> model = aeb.SparseClassifier(num_draws=50).fit(X, y)
        >>> model.classes_.tolist()
        ['ill', 'well']
        >>> bool(model.inclusion_[4] > 0.99)
        True
        >>> model.predict_proba(X[:5]).shape, model.predict(X[:5]).shape
        ((5, 2), (5,))
        >>> model.predict_interval(X[:5], level=0.8).shape
        (5, 2)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SparseClassifier:
        """Fit the model.

        Args:
            X: [n, p], an array, a sparse matrix or a data frame, of 3 rows or more.
            y: [n], labels of two classes or more.
            sample_weight: [n], as for `SparseRegressor`. The chains of a row of weight 2 draw other
                random numbers than those of two rows, so the two agree up to Monte Carlo error.

        Returns:
            The estimator itself.

        Raises:
            ValueError: the data are of the wrong shape, values are missing, no column varies, or
                there is one class only.
        """
        matrix, y, repeats, names = _learn(self, X, y, sample_weight, numeric=False)
        if y.dtype == object and any(entry is None for entry in y.ravel()):
            raise ValueError("y: labels are missing (None); drop those rows")
        check_classification_targets(y)
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError(f"y: got one class, {self.classes_.tolist()[0]!r}, needs two classes")
        # Of two classes, only the second is fitted. The first is its complement.
        wanted = range(len(self.classes_)) if len(self.classes_) > 2 else (1,)
        self.results_ = [
            _fit(
                self, matrix, (places == own).astype(float), repeats, names, {"family": "binomial"}
            )
            for own in wanted
        ]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, averaged over all models.

        Args:
            X: [rows, p].

        Returns:
            f64[rows, K], in the order of `classes_`.
        """
        matrix = _read(self, X)
        chances = np.stack([own.predict(matrix) for own in self.results_], axis=1)
        if len(self.classes_) == 2:
            return np.concatenate([1.0 - chances, chances], axis=1)
        # If every probability is 0, all classes get the same share.
        chances = np.maximum(chances, np.finfo(np.float64).tiny)
        return chances / chances.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most likely class of each row.

        Args:
            X: [rows, p].

        Returns:
            [rows], labels.
        """
        places = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[places]

    def predict_interval(self, X: Any, level: float = 0.9) -> np.ndarray:
        """Return central intervals of the probability of the second class.

        Args:
            X: [rows, p].
            level: the posterior probability that an interval contains it, in (0, 1).

        Returns:
            f64[rows, 2].

        Raises:
            AttributeError: there are more than two classes.
        """
        matrix = _read(self, X)
        return self.result_.predict(matrix, interval=level)[1]

    @property
    def result_(self) -> Regression:
        """The `Regression` of the probability of the second of two classes."""
        if len(self.results_) > 1:
            raise AttributeError(
                f"result_: there are {len(self.results_)} classes, each with a fit of its own "
                "against the rest; read results_"
            )
        return self.results_[0]

    @property
    def coef_(self) -> np.ndarray:
        """f64[1 or K, p], posterior means of the coefficients."""
        return np.stack([own.coefficients for own in self.results_])

    @property
    def intercept_(self) -> np.ndarray:
        """f64[1 or K], posterior means of the intercepts."""
        return np.array([own.intercept for own in self.results_])

    @property
    def inclusion_(self) -> np.ndarray:
        """f64[p] or f64[K, p], the probability that a column is in the model."""
        each = [own.inclusion for own in self.results_]
        return np.stack(each) if len(each) > 1 else each[0]


def _learn(
    estimator: Any, X: Any, y: Any, sample_weight: Any, *, numeric: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read the data of a fit, and store the number, the names and the encoding of the columns.

    Returns:
        f64[n, p], [n], f64[n] or None, and the names of the p columns. Rows of weight 0 are left
        out.
    """
    check_form("X", X)
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        guards.check_order(X, name, values)
    matrix, names, estimator._encoding = X, None, None
    if frames.is_frame(X):
        matrix, estimator._encoding = frames.read("X", X)
        names = estimator._encoding.names
    matrix, y = check_X_y(
        matrix,
        y,
        accept_sparse=True,
        dtype=np.float64,
        ensure_min_samples=3,
        y_numeric=numeric,
        estimator=estimator,
    )
    validate_data(estimator, X, skip_check_array=True)
    matrix, names = dense("X", matrix), column_names(names, None, matrix.shape[1])
    if sample_weight is None:
        return matrix, y, None, names
    repeats = _check_sample_weight(
        sample_weight,
        matrix,
        dtype=np.float64,
        ensure_non_negative=True,
        allow_all_zero_weights=False,
    )
    if not 3 <= repeats.sum() <= MOST_COUNTED:
        raise ValueError(
            f"sample_weight: got weights that sum to {repeats.sum():.3g}, which stands for the "
            f"number of rows, needs 3 to {MOST_COUNTED:.3g}; multiply them, as by "
            "len(y) / sum(sample_weight)"
        )
    kept = repeats > 0
    return matrix[kept], y[kept], repeats[kept], names


def _read(estimator: Any, X: Any) -> np.ndarray:
    """Read new rows with the fitted columns, f64[rows, p]."""
    check_is_fitted(estimator, ["result_", "results_"], all_or_any=any)
    check_form("X", X)
    if frames.is_frame(X):
        validate_data(estimator, X, reset=False, skip_check_array=True)
        if estimator._encoding is None:
            return frames.read("X", X)[0]
        _check_order_of_columns(estimator._encoding.frame_names, X)
        return frames.encode("X", X, estimator._encoding, estimator.unknown)
    matrix = check_array(X, accept_sparse=True, dtype=np.float64, estimator=estimator)
    if estimator._encoding is None:
        validate_data(estimator, X, reset=False, skip_check_array=True)
    return dense("X", matrix)


def _check_order_of_columns(fitted: tuple[str, ...], X: Any) -> None:
    """Require the order of the fit of columns whose names are no text: scikit-learn keeps none."""
    given = tuple(map(str, X.columns))
    if given != fitted and sorted(given) == sorted(fitted):
        place = next(j for j, name in enumerate(given) if name != fitted[j])
        raise ValueError(
            f"X: its columns are in another order than those fitted, column {place} is "
            f"{given[place]} and was {fitted[place]}; choose them in the order of the fit"
        )


def _fit(
    estimator: Any,
    matrix: np.ndarray,
    y: np.ndarray,
    repeats: np.ndarray | None,
    names: tuple[str, ...],
    settings: dict[str, Any],
) -> Regression:
    """Fit the columns that vary, then add the others with coefficient 0."""
    varies = ~is_constant(matrix)
    if not varies.any():
        raise ValueError(f"X: none of its {len(varies)} columns varies; there is nothing to learn")
    kept = np.flatnonzero(varies)
    design = read_design(
        names,
        estimator._encoding,
        **{name: getattr(estimator, name) for name in DESIGN},
    )
    seed = check_random_state(estimator.random_state).randint(2**31 - 1)
    fit = regression(
        matrix[:, kept],
        y,
        repeats=repeats,
        names=[names[j] for j in kept],
        expected_size=estimator.expected_size,
        key=jax.random.key(seed),
        **restrict(design, kept),
        **settings,
        **{name: getattr(estimator, name) for name in SHARED},
    )
    fit = fit if varies.all() else _widen(fit, kept, names)
    return fit._replace(encoding=estimator._encoding)


def _widen(fit: Regression, kept: np.ndarray, names: tuple[str, ...]) -> Regression:
    """Add the columns that were not fitted: never in the model, with coefficient 0.

    Args:
        fit: the fit of some columns.
        kept: the places of these columns among all.
        names: the names of all columns.
    """

    def wide(array: np.ndarray, axis: int, fill: float = 0.0) -> np.ndarray:
        shape = list(array.shape)
        shape[axis] = len(names)
        full = np.moveaxis(np.full(shape, fill, array.dtype), axis, 0)
        full[kept] = np.moveaxis(array, axis, 0)
        return np.moveaxis(full, 0, axis)

    group = np.arange(len(names))
    group[kept] = kept[fit.group]
    return fit._replace(
        names=names,
        group=group,
        coefficients=wide(fit.coefficients, 0),
        inclusion=wide(fit.inclusion, 0),
        coefficients_if_included=wide(fit.coefficients_if_included, 0),
        interval_if_included=wide(fit.interval_if_included, 0),
        interval_averaged=wide(fit.interval_averaged, 0),
        r_hat=wide(fit.r_hat, 0, 1.0),
        draws=wide(fit.draws, 2),
        included_draws=wide(fit.included_draws, 2),
        prior_inclusion=wide(fit.prior_inclusion, 0),
        always=tuple(int(kept[j]) for j in fit.always),
        correlated=Correlated(kept[fit.correlated.columns], fit.correlated.correlation),
    )
