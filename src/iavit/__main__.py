"""`python -m iavit`."""

import sys

from iavit.cli import main

sys.exit(main())
