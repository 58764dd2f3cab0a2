"""`python -m pspnb.cli`, for `accelerate launch -m` and for environments without the `pspnb` script."""

import sys

from pspnb.cli import main

sys.exit(main())
