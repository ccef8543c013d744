# SPDX-License-Identifier: Apache-2.0
from benchmarks.scaling.run import main

raise SystemExit(main())
