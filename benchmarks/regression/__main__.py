# SPDX-License-Identifier: Apache-2.0
from benchmarks.regression.run import main

raise SystemExit(main())
