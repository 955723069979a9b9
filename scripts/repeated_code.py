"""List blocks of ten or more equal lines that stand in two modules; comments, docstrings, imports and signatures do not count.

    python scripts/repeated_code.py dicom_workflow

The exit code is 1 when there is one. The comparison is pylint's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path

from pylint import run_symilar

SHORTEST_BLOCK_LINES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    modules = [str(path) for path in sorted(parser.parse_args().package.rglob("*.py"))]
    ignored = [f"--ignore-{what}" for what in ("comments", "docstrings", "imports", "signatures")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run_symilar([f"--duplicates={SHORTEST_BLOCK_LINES}", *ignored, *modules])
    found = printed.getvalue()
    if " duplicates=0 " not in found:
        print(found)
        return 1
    print(f"repeated code: no block of {SHORTEST_BLOCK_LINES} lines in {len(modules)} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
