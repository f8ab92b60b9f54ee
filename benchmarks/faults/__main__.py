"""python -m benchmarks.faults [WORD ...]: makes each fault of a table, runs a command in it, and judges how it ends.

A row is a fault, the shell commands that make it, the right exit status and the expected output. In every row an error
is one `error:` line without a traceback, and no process that was started is left 10 seconds later. WORDs choose the
rows with any of these in their name; as root, and with gcc, there are more rows. On the CPU. benchmarks.chaos kills
whole runs.
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults import deaths, disks, inputs, launchers, limits, others, shown, stops
from benchmarks.faults.judge import judge, lacks, prepare

TABLES = (inputs, launchers, shown, disks, limits, others, stops, deaths)
ROWS = [row for table in TABLES for row in table.ROWS]


def main() -> None:
    asked = sys.argv[1:]
    if {"-h", "--help"} & set(asked):
        print(__doc__)
        return
    rows = [row for row in ROWS if not asked or any(word in row.fault for word in asked)]
    bad, left_out = 0, 0
    with tempfile.TemporaryDirectory() as temporary, socket.create_server(("127.0.0.1", 0)) as server:
        shared = Path(temporary)
        shared.chmod(0o755)  # for rows with another user
        prepare(shared)
        for number, row in enumerate(rows):
            if lacking := lacks(row, shared):
                left_out += 1
                print(f"--            {row.fault}: needs {lacking}", flush=True)
                continue
            folder = shared / f"row{number}"
            folder.mkdir()
            began = time.monotonic()
            wrong = judge(row, shared, folder, server.getsockname()[1])
            bad += wrong is not None
            print(f"{'not' if wrong else 'ok':<4}{time.monotonic() - began:6.1f} s  {row.fault}", flush=True)
            if wrong:
                print(f"    {wrong}".replace("\n", "\n    "), flush=True)
            subprocess.run(["chmod", "-R", "u+rwX", str(folder)])
    made = len(rows) - left_out
    print(f"{made - bad} of {made} faults end as they should" + f"; {left_out} were skipped" * bool(left_out))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
