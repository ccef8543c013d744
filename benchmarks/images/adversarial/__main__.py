# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.images.adversarial`."""

from benchmarks.images.adversarial.run import main

raise SystemExit(main())
