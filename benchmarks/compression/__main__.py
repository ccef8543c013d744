# SPDX-License-Identifier: Apache-2.0
from benchmarks.compression.run import main

raise SystemExit(main())
