# SPDX-License-Identifier: Apache-2.0
"""The estimators are scikit-learn's in every way that it checks, and at home in its tools.

Mutations that fail here: the number of columns not remembered; the seed drawn afresh by default;
columns that are constant refused; labels of the classes swapped; text of a frame read anew at
prediction.
"""

import subprocess
import sys

import jax
import numpy as np
import pytest
import scipy.sparse

import aeb

pytest.importorskip("sklearn")

# A few draws are enough for what is asked here, and too few for chains to agree.
pytestmark = pytest.mark.filterwarnings("ignore:the . chains disagree")

FEW = {"num_chains": 2, "num_draws": 10, "warmup": 10, "thinning": 5}


def regressor(**settings):
    return aeb.SparseRegressor(**{**FEW, **settings})


def classifier(**settings):
    return aeb.SparseClassifier(**{**FEW, **settings})


def data(seed=0, n=60, p=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, 2.0 + 1.5 * x[:, 0] - x[:, 3] + rng.normal(size=n)


EXPECTED = {
    f"check_sample_weight_equivalence_on_{kind}_data": "equal up to Monte Carlo error: a row of "
    "weight 2 draws other random numbers than two rows; test_a_row_that_is_repeated compares them"
    for kind in ("dense", "sparse")
}


@pytest.mark.slow
@pytest.mark.quickly_compiled
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "expected"), [(regressor, {}), (classifier, EXPECTED)])
def test_the_battery_of_scikit_learn(make, expected):
    """Mutations: rows not read before the result is asked for, in `predict_proba`; weights for
    repeats in the regressor."""
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(make(), expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {
        result["check_name"]: repr(result["exception"])
        for result in results
        # xfail: EXPECTED, for weights are repeats only up to Monte Carlo error; skipped: by a tag
        if result["status"] not in ("passed", "skipped", "xfail")
    }
    assert not failed
    # An expected failure that passes, or that scikit-learn no longer checks, leaves EXPECTED.
    assert sum(result["status"] == "xfail" for result in results) == len(expected)
    assert sum(result["status"] == "passed" for result in results) > 40


def test_importing_aeb_does_not_import_scikit_learn():
    """Not all of it either. Mutation: the estimators among the names of `aeb.__all__`."""
    code = "import sys; import aeb; from aeb import *; assert 'sklearn' not in sys.modules; "
    code += "assert 'SparseRegressor' in dir(aeb); aeb.SparseRegressor"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "aeb.linear.estimators", raising=False)
    monkeypatch.delattr(aeb.linear, "estimators", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"aeb.SparseRegressor .* pip install 'aeb\[sklearn\]'"):
        _ = aeb.SparseRegressor
    with pytest.raises(AttributeError, match="no attribute 'SparseThing'"):
        _ = aeb.SparseThing


def test_it_is_the_function():
    x, y = data()
    model = regressor(random_state=np.random.RandomState(3)).fit(x, y)
    assert model.n_features_in_ == 8
    np.testing.assert_array_equal(model.coef_, model.result_.coefficients)
    np.testing.assert_array_equal(model.predict(x), model.result_.predict(x))
    mean, std = model.predict(x, return_std=True)
    np.testing.assert_array_equal(std, model.result_.predict(x, return_std=True)[1])
    np.testing.assert_array_equal(mean, model.predict(x))
    interval = model.predict_interval(x, level=0.8)
    np.testing.assert_array_equal(interval, model.result_.predict(x, interval=0.8)[1])
    assert np.mean((interval[:, 0] < y) & (y < interval[:, 1])) > 0.5
    again, other = regressor().fit(x, y), regressor(random_state=1).fit(x, y)
    np.testing.assert_array_equal(again.result_.draws, regressor().fit(x, y).result_.draws)
    assert not np.array_equal(again.result_.draws, other.result_.draws)
    always = regressor(always=[5], inclusion_odds=np.full(8, 2.0), expected_size=2).fit(x, y)
    assert always.inclusion_[5] == 1.0


def test_a_constant_column_is_left_out():
    x, y = data()
    wide = np.insert(x, [0, 4], [7.0, -1.0], axis=1)
    odds = np.linspace(1, 2, 10)
    plain = regressor(always=[4], inclusion_odds=np.delete(odds, [0, 5])).fit(x, y)
    model = regressor(always=[6], inclusion_odds=odds).fit(wide, y)
    kept = [1, 2, 3, 4, 6, 7, 8, 9]
    np.testing.assert_array_equal(model.coef_[kept], plain.coef_)
    np.testing.assert_array_equal(model.coef_[[0, 5]], 0.0)
    np.testing.assert_array_equal(model.result_.draws[..., kept], plain.result_.draws)
    np.testing.assert_allclose(model.predict(wide), plain.predict(x), rtol=1e-9)
    assert model.result_.always == (6,)
    for own, other in zip(
        model.result_.credible_sets(0.5), plain.result_.credible_sets(0.5), strict=True
    ):
        assert own.columns.tolist() == [kept[j] for j in other.columns]
    with pytest.raises(ValueError, match="none of its 2 columns varies"):
        regressor().fit(np.ones((9, 2)), y[:9])


@pytest.mark.slow
def test_the_fit_of_a_frame_predicts_a_frame_in_which_a_column_was_constant():
    """Its columns are those of the frame, the constant ones too."""
    pandas = pytest.importorskip("pandas")
    x, y = data(n=40)
    town = np.array(["York", "Bath"])[np.arange(40) % 2]
    frame = pandas.DataFrame({"still": np.ones(40), "town": town, "x": x[:, 0]})
    model = regressor().fit(frame, y)
    assert model.result_.names == ("still", "town[York]", "x")
    few = pandas.DataFrame({"still": [1.0], "town": ["York"], "x": [0.3]})
    own = model.intercept_ + model.coef_[1] + 0.3 * model.coef_[2]
    np.testing.assert_allclose(model.result_.predict(few), [own], rtol=1e-6)
    np.testing.assert_array_equal(model.result_.predict(few), model.predict(few))


def test_labels_that_are_missing_are_refused():
    x = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(ValueError, match=r"^y: labels are missing"):
        aeb.SparseClassifier().fit(x, np.array(["a", None, "b", "a", "b", "a"], object))


def test_classes_keep_their_labels():
    x, y = data()
    labels = np.where(y > 2.0, "well", "ill")
    model = classifier().fit(x, labels)
    assert model.classes_.tolist() == ["ill", "well"]
    chances = model.predict_proba(x)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.predict(x), np.where(chances[:, 1] > 0.5, "well", "ill"))
    assert model.score(x, labels) > 0.75
    assert model.coef_.shape == (1, 8)
    assert model.coef_[0, 0] > 0 > model.coef_[0, 3]
    low, high = model.predict_interval(x, level=0.9).T
    assert np.all((low >= 0) & (low < high) & (high <= 1))
    with pytest.raises(ValueError, match=r"needs aeb\.SparseClassifier"):
        regressor(family="binomial").fit(x, y > 2)


@pytest.mark.slow
def test_of_three_classes_each_is_fitted_against_the_rest():
    """Mutations: the probabilities not divided by their sum; the first class left out."""
    x, y = data()
    labels = np.array(["low", "mid", "top"])[np.digitize(y, [1.0, 3.0])]
    model = classifier().fit(x, labels)
    assert model.coef_.shape == model.inclusion_.shape == (3, 8)
    assert model.intercept_.shape == (3,)
    single = classifier().fit(x, labels == "top")
    np.testing.assert_array_equal(model.coef_[2], single.coef_[0])
    each = np.stack([own.predict(x) for own in model.results_], axis=1)
    chances = model.predict_proba(x)
    np.testing.assert_allclose(chances, each / each.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(model.predict(x), model.classes_[np.argmax(each, axis=1)])
    assert model.score(x, labels) > 0.6
    with pytest.raises(AttributeError, match="there are 3 classes, each with a fit of its own"):
        model.predict_interval(x)


@pytest.mark.slow
def test_groups_and_parents_go_through():
    """With a column that a fold has constant. Mutations: places of all columns for those that vary;
    a constant parent that holds its child back."""
    x, y = data()
    wide = np.insert(x, [0, 4], [7.0, -1.0], axis=1)
    labels = ["c", *"aabh", "c", *"ddef"]
    model = regressor(groups=labels, requires={7: [1, 0]}).fit(wide, y)
    assert model.result_.group.tolist() == [0, 1, 1, 3, 4, 5, 6, 6, 8, 9]
    plain = regressor(groups=list("aabhddef"), requires={5: [0]}).fit(x, y)
    np.testing.assert_array_equal(model.inclusion_[[1, 2, 3, 4, 6, 7, 8, 9]], plain.inclusion_)
    np.testing.assert_array_equal(model.coef_[[0, 5]], 0.0)
    assert model.result_.model_size.prior.sum() == pytest.approx(1.0)
    drawn = model.result_.included_draws
    assert not drawn[..., 6][~drawn[..., 1]].any()


def test_it_lives_in_pipelines_and_searches():
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = data()
    pipeline = make_pipeline(StandardScaler(), regressor())
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.5
    search = GridSearchCV(regressor(), {"expected_size": [1, 4]}, cv=2).fit(x, y)
    assert set(search.best_params_) == {"expected_size"}
    copy = clone(search.best_estimator_)
    assert not hasattr(copy, "result_")
    assert copy.get_params() == search.best_estimator_.get_params()


def test_rows_and_columns_in_another_order_are_refused():
    """Of pandas, whose rows have labels, and of names that scikit-learn does not keep. Mutations:
    y not looked at; values of other labels refused too; columns not looked at."""
    pandas = pytest.importorskip("pandas")
    x, y = data(n=20)
    frame = pandas.DataFrame(x)
    shuffled = pandas.Series(y)[::-1]
    for fit in (regressor().fit, aeb.regression):
        with pytest.raises(ValueError, match=r"^y: the rows .* Row 0 is 19, and 0 in the inputs"):
            fit(frame, shuffled)
    with pytest.raises(ValueError, match=r"^weights: the rows"):
        aeb.regression(frame, y, weights=shuffled)
    model = regressor().fit(frame, shuffled[::-1].set_axis(range(50, 70)))  # others pass
    with pytest.raises(ValueError, match=r"^X: its columns .* column 0 is 7 and was 0"):
        model.predict(frame[frame.columns[::-1]])
    np.testing.assert_array_equal(model.predict(x), model.predict(frame))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_sparse_matrices(library):
    frame_of = pytest.importorskip(library).DataFrame
    x, y = data(n=40)
    town = np.array(["York", "Bath", "Ely"])[np.arange(40) % 3]
    columns = {f"c{j}": x[:, j] for j in range(8)} | {"town": town}
    model = regressor().fit(frame_of(columns), y)
    assert model.feature_names_in_.tolist() == list(columns)
    assert model.n_features_in_ == 9
    assert model.result_.names[-2:] == ("town[Ely]", "town[York]")
    assert model.result_.group[-2:].tolist() == [8, 8]
    few = frame_of({name: values[:2] for name, values in columns.items()})
    np.testing.assert_allclose(model.predict(few), model.predict(frame_of(columns))[:2])
    np.testing.assert_array_equal(model.result_.predict(few), model.predict(few))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame_of({"z": x[:, 0], **columns}))
    dense = regressor().fit(x, y)
    for form in (scipy.sparse.csr_array, scipy.sparse.coo_array):
        own = regressor().fit(form(x), y)
        np.testing.assert_array_equal(own.coef_, dense.coef_)
        np.testing.assert_array_equal(own.predict(form(x)), dense.predict(x))


def test_sample_weights_repeat_rows():
    """Mutations: weights for repeats; the weights of all columns for those of the rows kept."""
    x, y = data(n=30)
    times = np.arange(30) % 4
    model = regressor().fit(x, y, sample_weight=times)
    again = regressor().fit(np.repeat(x, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(model.coef_, again.coef_, rtol=1e-7)
    np.testing.assert_allclose(model.predict(x), again.predict(x), rtol=1e-7)
    for weight, total in ((1 / 30, "1"), (1e6, r"3e\+07")):
        with pytest.raises(
            ValueError, match=rf"sample_weight: got .* sum to {total}, .* 3 to 1e\+07"
        ):
            regressor().fit(x, y, sample_weight=np.full(30, weight))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_sample_weights_of_a_classifier_are_repeats(num_classes):
    """Of each class. Mutation: the weights not passed on."""
    x, _ = data(n=40)
    y, times = np.arange(40) % num_classes, np.arange(40) % 4
    model = classifier().fit(x, y, sample_weight=times)
    seed = np.random.RandomState(model.random_state).randint(2**31 - 1)
    settings = FEW | {"family": "binomial", "repeats": times}
    for own, label in zip(model.results_, range(num_classes)[-len(model.results_) :], strict=True):
        fit = aeb.regression(x, (y == label).astype(float), key=jax.random.key(seed), **settings)
        np.testing.assert_array_equal(own.coefficients, fit.coefficients)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_level_that_a_fold_has_not_seen(library):
    """Mutations: the setting not passed on; a level unknown counted as the last one."""
    frame_of = pytest.importorskip(library).DataFrame
    x, y = data(n=40)
    town = np.array(["Bath", "Ely", "York"])[np.arange(40) % 3].astype(object)
    town[-2:] = "Hull", "Bath"
    frame = frame_of({"a": x[:, 0], "b": x[:, 1], "town": town})
    model = regressor(unknown="ignore").fit(frame[:-2], y[:-2])
    base = frame_of({"a": x[-2:, 0], "b": x[-2:, 1], "town": ["Bath", "Bath"]})
    np.testing.assert_array_equal(model.predict(frame[-2:]), model.predict(base))
    fit = aeb.regression(frame[:-2], y[:-2], **FEW)
    np.testing.assert_array_equal(fit.predict(frame[-2:], unknown="ignore"), fit.predict(base))
    says = "'town' has 'Hull', .* or pass unknown=\"ignore\", which takes them for the base, 'Bath'"
    strict = regressor().fit(frame[:-2], y[:-2])
    for call in (strict.predict, fit.predict):
        with pytest.raises(ValueError, match=says):
            call(frame[-2:])
    with pytest.raises(ValueError, match="unknown: got 'drop', needs to be one of error, ignore"):
        model.set_params(unknown="drop").predict(frame[-2:])


def test_warnings_of_the_estimators_name_the_users_line():
    """Through a pipeline too. Mutation: a fixed stacklevel."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = data(n=30)
    for model in (regressor(), make_pipeline(StandardScaler(), regressor())):
        with pytest.warns(UserWarning, match="it is 0 or 1 in each row") as said:
            model.fit(x, (y > 2).astype(float))
        assert {own.filename for own in said} == {__file__}
