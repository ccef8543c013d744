# SPDX-License-Identifier: Apache-2.0
"""Linear regression. The coefficients are integrated out, and only the model is sampled."""

from typing import TYPE_CHECKING, Any

from aeb.linear.regression import regression
from aeb.linear.result import Regression

if TYPE_CHECKING:
    from aeb.linear.estimators import SparseClassifier as SparseClassifier
    from aeb.linear.estimators import SparseRegressor as SparseRegressor

__all__ = ["Regression", "regression"]


def __getattr__(name: str) -> Any:
    """Import the estimators, and with them scikit-learn, only when one of them is used."""
    if name not in ("SparseClassifier", "SparseRegressor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from aeb.linear import estimators
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sklearn"):
            raise
        raise ImportError(
            f"aeb.{name} is an estimator of scikit-learn: pip install 'aeb[sklearn]'"
        ) from error
    return getattr(estimators, name)
