# PYTHON_ARGCOMPLETE_OK
"""The program `fastast`. Its help is printed without importing torch and transformers, which takes seconds.

It stands beside the package because the package registers its models with transformers when it is imported, and any
module of it would be imported after that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec, module_from_spec


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default the program's own arguments) names; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    asks_for_help = not given or ({"-h", "--help", "--version"} & set(given) and "--" not in given)
    without_torch = (asks_for_help or "_ARGCOMPLETE" in os.environ) and "fastast_hf" not in sys.modules
    if without_torch and (package := find_spec("fastast_hf")):
        # The package's modules can be imported from it, and its own code is not run: after this, the process ends.
        sys.modules["fastast_hf"] = module_from_spec(package)
    try:
        from fastast_hf.cli.main import main as run

        return run(argv)
    except KeyboardInterrupt:  # while importing, which takes seconds, or before the command handles it
        print("fastast: stopped", file=sys.stderr)
        return 130
    except (ImportError, OSError, RuntimeError) as error:  # such as a torchaudio that does not load beside this torch
        reason = " ".join(str(error).split())
        print(f"fastast: a package that it needs can't be imported ({reason}): install it again", file=sys.stderr)
        return 2
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
