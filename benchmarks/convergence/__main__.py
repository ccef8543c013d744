# SPDX-License-Identifier: Apache-2.0
from benchmarks.convergence.run import main

raise SystemExit(main())
