"""Words of a command line to one call; what a command needs is imported here, when it runs."""

import os

# Before numpy: its BLAS would run a thread per core for the server's small vectors, and the
# agents, one process each, already use every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
