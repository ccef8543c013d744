# SPDX-License-Identifier: Apache-2.0
"""How to cite this library and the paper that it implements; `CITATION.cff` says the same."""

from __future__ import annotations

from aeb import guards
from aeb.version import __version__

__all__ = ["citation"]

PAPER = """\
@inproceedings{deng2019adaptive,
  title     = {An Adaptive Empirical Bayesian Method for Sparse Deep Learning},
  author    = {Deng, Wei and Zhang, Xiao and Liang, Faming and Lin, Guang},
  booktitle = {Advances in Neural Information Processing Systems 32},
  year      = {2019}
}"""

SOFTWARE = f"""\
@software{{aeb,
  title   = {{aeb: adaptive empirical Bayes for sparse deep learning in JAX}},
  author  = {{{{The aeb developers}}}},
  version = {{{__version__}}},
  license = {{Apache-2.0}}
}}"""

ENTRIES = {"paper": PAPER, "software": SOFTWARE, "both": f"{PAPER}\n\n{SOFTWARE}"}


def citation(of: str = "both") -> str:
    """Return BibTeX entries for the paper and for this library.

    Args:
        of: "paper", "software" or "both".

    Returns:
        One entry, or two with an empty line between them.

    Raises:
        ValueError: `of` is none of the three words.

    Example:
        >>> print(citation("paper").splitlines()[0])
        @inproceedings{deng2019adaptive,
    """
    guards.one_of("of", of, tuple(ENTRIES))
    return ENTRIES[of]
