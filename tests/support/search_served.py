"""Run the search service over the corpus; its store waits as long as the file ``held`` is in the folder.

usage: search_served.py PORT FOLDER [CONNECTIONS]
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.search_corpus import Corpus
from support.search_service import filled_store

from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.server import ServeOptions, serve
from dicom_workflow.settings import Settings


def main() -> None:
    folder = Path(sys.argv[2])

    store: Any = filled_store(folder / "index", Corpus())
    search = store.search_reports

    def search_when_released(*arguments: Any, **named: Any) -> Any:
        while (folder / "held").exists():
            (folder / "asked").touch()
            time.sleep(0.02)
        return search(*arguments, **named)

    store.search_reports = search_when_released
    logging.basicConfig(level=logging.DEBUG)

    def say(text: str) -> None:
        print(text, flush=True)

    settings = Settings(workspace=folder, archive="folder")
    limits = Limits(concurrency=int(sys.argv[3])) if len(sys.argv) > 3 else Limits()
    serve(store, settings, options=ServeOptions(port=int(sys.argv[1]), limits=limits), say=say)


if __name__ == "__main__":
    main()
