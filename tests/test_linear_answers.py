# SPDX-License-Identifier: Apache-2.0
"""The questions that a fit answers: intervals of a new y, models, sets, pictures, ArviZ, warnings.

Mutations that fail here: the noise left out of an interval; columns that are always in selected;
the encoding forgotten; a name not escaped; the first chain alone in a figure or in ArviZ; chains
that disagree passed over.
"""

import functools
import html
import pickle

import numpy as np
import pytest

import aeb
from aeb.linear.interpret import interpret

QUICK = {"num_draws": 100, "warmup": 50, "thinning": 20}


@functools.cache
def fitted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12))
    x[:, 5] = x[:, 4] + 0.02 * rng.normal(size=60)
    y = 2.0 + 1.5 * x[:, 0] - 2.0 * x[:, 4] + rng.normal(size=60)
    names = [f"<{j}>" for j in range(12)]
    return aeb.regression(x, y, names=names, **QUICK), x, y


@pytest.mark.slow
def test_intervals_hold_as_many_as_they_say():
    """Of new values drawn from the posterior itself, 80 %, to within five standard errors."""
    fit, _, _ = fitted()
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 12))
    mean, interval = fit.predict(x, interval=0.8)
    np.testing.assert_array_equal(mean, fit.predict(x))
    drawn = fit.intercept_draws + np.einsum("rp,cdp->rcd", x, fit.draws.astype(float))
    drawn += fit.sigma_draws * rng.normal(size=drawn.shape)
    inside = (interval[:, 0, None, None] < drawn) & (drawn < interval[:, 1, None, None])
    assert np.mean(inside) == pytest.approx(0.8, abs=5 * (0.16 / inside.size) ** 0.5)
    above = np.mean(drawn > interval[:, 1, None, None])
    assert above == pytest.approx(0.1, abs=5 * (0.09 / inside.size) ** 0.5)
    _, std = fit.predict(x, return_std=True)
    np.testing.assert_allclose(std, drawn.std(axis=(1, 2)), rtol=0.15)
    assert np.mean(std / drawn.std(axis=(1, 2))) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(fit.predict(x, np.full(200, 3.0)), mean + 3.0)
    _, moved = fit.predict(x, np.full(200, 3.0), interval=0.8)
    np.testing.assert_allclose(moved, interval + 3.0, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_models_sets_and_selection():
    fit, _, _ = fitted()
    models = fit.models(3)
    assert len(models) == 3
    for own in models:
        assert "<0>" in own.names
        assert {"<4>", "<5>"} & set(own.names)
    assert len(fit.models()) == 10
    sets = fit.credible_sets()
    assert [set(own.names) for own in sets] == [{"<0>"}, {"<4>", "<5>"}]
    assert sets[1].purity > 0.99
    assert len(fit.credible_sets(purity=1.0)) == 1
    # Mutation: `existence` not handed on. Some columns are in the model now and then.
    doubtful = fit.credible_sets(existence=0.001)
    assert len(doubtful) > 2
    assert min(own.probability for own in doubtful) < 0.5
    assert fit.select(0.1).tolist() == [0]
    size = fit.model_size
    assert size.posterior.sum() == pytest.approx(1.0)
    assert size.prior.sum() == pytest.approx(1.0, abs=1e-4)
    assert size.posterior[:2].sum() == 0
    always = fit._replace(always=(0,))
    assert 0 not in always.select(0.6)


@pytest.mark.slow
def test_the_prior_is_that_of_the_rate_learned():
    fit, x, _ = fitted()
    np.testing.assert_allclose(fit.prior_inclusion, fit.delta)
    odds = np.r_[3.0, np.ones(11)]
    own = interpret(fit._replace(always=(2,)), (x - x.mean(0)) / x.std(0), odds, None)
    assert own.prior_inclusion[0] / (1 - own.prior_inclusion[0]) == pytest.approx(
        3.0 * fit.delta / (1 - fit.delta)
    )
    assert own.prior_inclusion[2] == 1.0
    assert 2 not in own.correlated.columns


def test_chains_that_disagree_are_told_of():
    fit, x, _ = fitted()
    x = (x - x.mean(0)) / x.std(0)
    apart = fit.r_hat.copy()
    apart[[0, 4]] = 1.2, np.inf
    with pytest.warns(
        UserWarning, match=r"4 chains disagree on '<4>', '<0>': .*inf.*num_draws \(now"
    ):
        interpret(fit._replace(r_hat=apart), x, np.ones(12), None)
    with pytest.warns(UserWarning, match=r"disagree on 'sigma': R-hat is up to 1.104, "):
        # Just above the limit, which "1.10 ... below 1.1" would not show.
        interpret(fit._replace(r_hat_sigma=1.104), x, np.ones(12), None)
    # Where sigma is 1 that R-hat is of the intercept.
    counts = fit._replace(r_hat_sigma=1.5, family="negative_binomial")
    with pytest.warns(UserWarning, match=r"disagree on 'intercept': .*np\.log\(y\)"):
        interpret(counts, x, np.ones(12), None, large_counts=True)
    # A column that is hardly ever in is no answer.
    rare = fit.r_hat.copy()
    rare[7] = 2.0
    interpret(
        fit._replace(r_hat=rare, inclusion=np.where(np.arange(12) == 7, 0.005, fit.inclusion)),
        x,
        np.ones(12),
        None,
    )


def test_a_notebook_shows_a_table():
    fit, _, _ = fitted()
    shown = fit._repr_html_()
    assert shown.count("<tr>") == 11
    assert html.escape("<4>") in shown
    assert "<4>" not in shown
    assert "Stand for each other" in shown
    assert shown.index(html.escape("<0>")) < shown.index(html.escape("<7>"))


def test_a_figure_of_four_panels():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    fit, _, _ = fitted()
    figure = fit.plot(columns=4)
    inclusion, intervals, size, columns, scale = figure.axes
    np.testing.assert_allclose(inclusion.lines[0].get_ydata(), fit.inclusion)
    assert set(inclusion.lines[1].get_xdata()) == {4, 5}
    order = np.argsort(-fit.inclusion, kind="stable")[:4]
    assert [label.get_text() for label in intervals.get_yticklabels()] == [
        fit.names[j] for j in order
    ]
    heights = [bar.get_height() for bar in size.patches]
    np.testing.assert_allclose(heights, fit.model_size.posterior[: len(heights)])
    for axis, draws in ((columns, fit.included_draws.sum(axis=2)), (scale, fit.sigma_draws)):
        np.testing.assert_allclose([line.get_ydata() for line in axis.lines], draws)
    pyplot.close(figure)


@pytest.mark.filterwarnings("ignore:.*ArviZ is undergoing a major refactor:FutureWarning")
def test_arviz_gets_every_draw():
    pytest.importorskip("arviz")
    fit, _, _ = fitted()
    posterior = fit.to_arviz().posterior
    assert set(posterior.data_vars) == {"coefficient", "included", "intercept", "sigma"}
    assert posterior["coefficient"].dims == ("chain", "draw", "column")
    own = posterior["coefficient"].sel(column="<4>")
    np.testing.assert_array_equal(own, fit.draws[:, :, 4])
    np.testing.assert_array_equal(posterior["included"], fit.included_draws)
    np.testing.assert_array_equal(posterior["sigma"], fit.sigma_draws)


def test_a_fit_can_be_kept():
    fit, x, _ = fitted()
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(
        again.predict(x, interval=0.5)[1], fit.predict(x, interval=0.5)[1]
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda fit, x: fit.predict(x, interval=1.0), "interval"),
        (lambda fit, x: fit.predict(x, interval=0.9, return_std=True), "both"),
        (lambda fit, x: fit.predict(x, [1.0]), "offset: got 1 numbers for the 60 rows"),
        (lambda fit, x: fit.models(0), "count"),
        (lambda fit, x: fit.select(0.0), "fdr"),
        (lambda fit, x: fit.credible_sets(level=1.0), "level"),
        (lambda fit, x: fit.credible_sets(purity=-0.1), "purity"),
        (lambda fit, x: fit.credible_sets(existence=0.0), "existence"),
        (lambda fit, x: fit.credible_sets(existence=1.5), "existence"),
        (lambda fit, x: fit.plot(0), "columns"),
    ],
)
def test_bad_questions_are_named(call, says):
    fit, x, _ = fitted()
    with pytest.raises(ValueError, match=says):
        call(fit, x)
