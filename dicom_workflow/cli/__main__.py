"""The command line without an installed script: ``python -m dicom_workflow.cli search serve …``, as containers start it."""

from __future__ import annotations

import sys

from dicom_workflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
