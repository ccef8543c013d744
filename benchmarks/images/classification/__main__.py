# SPDX-License-Identifier: Apache-2.0
from benchmarks.images.classification.run import main

raise SystemExit(main())
