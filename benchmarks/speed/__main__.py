# SPDX-License-Identifier: Apache-2.0
from benchmarks.speed.run import main

raise SystemExit(main())
