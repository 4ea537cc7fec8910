"""The contract on a SQLite file."""

import atexit
import shutil
import tempfile
from pathlib import Path

from loki_storage_contract import BackendTarget, contract_suite

folder = Path(tempfile.mkdtemp(prefix="loki-contract-"))
atexit.register(shutil.rmtree, folder, ignore_errors=True)
target = BackendTarget.of_url("sqlite", f"sqlite:///{folder}/loki.db", durable=True, processes=True)
globals().update(contract_suite(target))
