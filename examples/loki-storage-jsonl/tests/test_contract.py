"""The contract of loki-storage on a directory of JSON lines."""

import atexit
import shutil
import tempfile
from pathlib import Path

from loki_storage_contract import BackendTarget, contract_suite

# In memory where there is such a folder: what is proved is the same, and disks are spared.
shared_memory = Path("/dev/shm")
folder = tempfile.mkdtemp("", "loki-jsonl-", shared_memory if shared_memory.is_dir() else None)
atexit.register(shutil.rmtree, folder, ignore_errors=True)
target = BackendTarget.of_url("jsonl", f"jsonl:///{folder}", durable=True, processes=True)
globals().update(contract_suite(target))
