# SPDX-License-Identifier: Apache-2.0
from benchmarks.simulation.run import main

raise SystemExit(main())
