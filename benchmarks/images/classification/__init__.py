# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST by Adam, dropout, SGHMC and SGHMC-SA."""
