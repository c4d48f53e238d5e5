"""``python -m napari_medclipsam.cli``."""

import sys

from napari_medclipsam.cli import main

sys.exit(main())
