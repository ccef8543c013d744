# SPDX-License-Identifier: Apache-2.0
"""Complete a fit: add prior probabilities and correlations to its draws, and check its chains."""

from __future__ import annotations

import warnings

import numpy as np

from aeb import guards
from aeb.guards import some
from aeb.linear.credible_sets import correlated
from aeb.linear.design import Design, tie_columns
from aeb.linear.frames import Encoding
from aeb.linear.result import Regression
from aeb.linear.ties import prior_draws

__all__ = ["interpret"]

MOST_R_HAT = 1.1
"""Chains with a larger R-hat disagree (Gelman et al., Bayesian Data Analysis (2013), 11.4)."""

COUNTS = (
    ". The larger the counts, the slower these chains; aeb.regression(X, np.log(y)), with the "
    "offset if there is one, asks much the same question and is fast"
)
"""What to do about the chains of a negative binomial whose counts are all large."""

LEAST_INCLUSION = 0.01
"""Less likely columns are not reported, so it does not matter whether the chains agree on them."""


def interpret(
    fit: Regression,
    x: np.ndarray,
    odds: np.ndarray,
    encoding: Encoding | None,
    design: Design | None = None,
    *,
    large_counts: bool = False,
) -> Regression:
    """Add the prior, the correlations and the encoding to a fit, and compare its chains.

    Args:
        fit: a fit with `included_draws` and `always`.
        x: f64[n, p], columns of mean 0 and mean square 1.
        odds: f64[p], the factor of each column's prior odds.
        encoding: how a data frame became columns.
        design: which columns belong together, and which wait for others. None if every column is on
            its own.
        large_counts: whether y are counts of which all are large.

    Returns:
        The fit with `prior_inclusion`, `prior_size`, `correlated`, `encoding` and `group`.

    Warns:
        UserWarning: the chains disagree on a column, or on sigma, or on the intercept where sigma
            is 1.
    """
    always = np.isin(np.arange(len(fit.names)), fit.always)
    prior = odds * fit.delta
    prior = np.where(always, 1.0, prior / (1.0 - fit.delta + prior))
    included = fit.included_draws.reshape(-1, len(fit.names)) & ~always
    group = np.arange(len(always)) if design is None else design.group
    prior, sizes = _prior(prior, np.flatnonzero(~always), group, design)
    _look_at_chains(fit, COUNTS if large_counts else "")
    return fit._replace(
        prior_inclusion=prior,
        prior_size=sizes,
        correlated=correlated(x, included, group),
        encoding=encoding,
        group=group,
    )


def _prior(
    prior: np.ndarray, free: np.ndarray, group: np.ndarray, design: Design | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return prior probabilities of the columns, f64[p], and of 0, 1, ... groups in the model.

    If no column waits for others, the latter follow from the former and are left empty.
    """
    first = np.flatnonzero(group == np.arange(len(group)))
    ties = None if design is None else tie_columns(design, free)
    if ties is None or ties.waits is None:
        return prior, np.zeros(0)
    drawn = prior_draws(ties, prior[free])
    # Columns that wait for no other are in with their own probability.
    waits = np.isin(ties.lead, ties.waits.child)
    prior = prior.copy()
    prior[free[waits]] = drawn[:, waits].mean(axis=0)
    counts = drawn[:, ties.lead == np.arange(len(free))].sum(axis=1) + len(
        np.setdiff1d(first, free)
    )
    return prior, np.bincount(counts, minlength=len(first) + 1) / len(drawn)


def _look_at_chains(fit: Regression, advice: str) -> None:
    apart = np.flatnonzero((fit.r_hat > MOST_R_HAT) & (fit.inclusion > LEAST_INCLUSION))
    names = [fit.names[j] for j in apart[np.argsort(-fit.r_hat[apart], kind="stable")]]
    has_sigma = fit.family in ("gaussian", "student_t")
    names += ["sigma" if has_sigma else "intercept"] * (fit.r_hat_sigma > MOST_R_HAT)
    if names:
        largest = max([fit.r_hat_sigma, *fit.r_hat[apart]])
        chains, draws = fit.sigma_draws.shape
        warnings.warn(
            f"the {chains} chains disagree on {some(names)}: R-hat is up to {largest:.3f}, and "
            f"should be below {MOST_R_HAT:g}. Raise num_draws (now {draws}), warmup and thinning; "
            "where columns stand for each other, read fit.credible_sets() and not the columns one "
            f"by one{advice}",
            stacklevel=guards.stacklevel(),
        )
