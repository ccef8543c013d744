# SPDX-License-Identifier: Apache-2.0
from benchmarks.uci.run import main

raise SystemExit(main())
