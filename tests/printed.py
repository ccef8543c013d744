# SPDX-License-Identifier: Apache-2.0
"""Whether a text says what another says, but for figures that differ from machine to machine."""

import math
import re

NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def alike(text, other, *, share=0.25):
    """Compare words exactly and numbers roughly.

    Chains differ in their rounding from one processor to another, and with it by some digits.

    Args:
        text: what a page shows.
        other: what its code prints.
        share: how far a number may be off, beside two units of its last digit.

    Returns:
        Whether they are alike.
    """
    if _words(text) != _words(other):
        return False
    pairs = zip(NUMBER.findall(text), NUMBER.findall(other), strict=True)
    return all(
        math.isclose(_value(a), _value(b), rel_tol=share, abs_tol=2 * _unit(a)) for a, b in pairs
    )


def _words(text):
    return NUMBER.sub("#", text).split()


def _value(number):
    return float(number.replace(",", ""))


def _unit(number):
    return 10.0 ** -len(number.partition(".")[2])
