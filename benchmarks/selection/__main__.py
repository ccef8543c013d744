# SPDX-License-Identifier: Apache-2.0
from benchmarks.selection.run import main

raise SystemExit(main())
