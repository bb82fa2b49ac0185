"""Run the command line with ``python -m llama_index_raganything``."""

import sys

from llama_index_raganything.cli.main import main

sys.exit(main())
