"""``python -m dbint.journal``"""

import sys

from dbint.journal.cli import main

sys.exit(main())
