"""`metagenrl` and `python -m metagenrl`: the command line, once its libraries can be imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the working directory first: a torch.py there would hide the package.
    sys.path.append(sys.path.pop(0))

from metagenrl.commands.shell.variables import refused_variable


def main(argv: Sequence[str] | None = None) -> None:
    """As `metagenrl.commands.main.main`; a library that an environment variable stops is told."""
    try:
        from metagenrl.commands.main import main as command_line
    except Exception as error:
        refused = refused_variable(error)
        if refused is None:
            raise
        print(f"error: {refused}", file=sys.stderr)
        raise SystemExit(2) from None
    command_line(argv)


if __name__ == "__main__":
    main()
