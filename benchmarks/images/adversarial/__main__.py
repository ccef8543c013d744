# SPDX-License-Identifier: Apache-2.0
from benchmarks.images.adversarial.run import main

raise SystemExit(main())
