# SPDX-License-Identifier: Apache-2.0
from benchmarks.logistic.run import main

raise SystemExit(main())
