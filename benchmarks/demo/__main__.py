# SPDX-License-Identifier: Apache-2.0
from benchmarks.demo.run import main

raise SystemExit(main())
