"""``python -m dicom_workflow.cli``."""

import sys

from dicom_workflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
