"""From a command, which ends with its reader."""

import os
import select
import signal
import subprocess
import tempfile

from data.remote.transports import body
from data.remote.transports.body import CHUNK, Body, Interrupted, in_one_line

MOST_SAID = 4096  # bytes of a command's messages that are looked at
#: runs $1 and kills it, with all that it started, when the process at the other end of its input is gone
WATCHED = (
    "exec 9<&0; (read -r _ <&9; kill -KILL 0) >/dev/null 2>&1 & "
    'sh -c "$1" 9<&- </dev/null; status=$?; kill $! 2>/dev/null; exit $status'
)


def open_command(command: str) -> Body:
    errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
    watched, ours = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", WATCHED, "sh", command],
        stdin=watched,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )
    os.close(watched)
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    silence = select.poll()
    silence.register(descriptor, select.POLLIN | select.POLLHUP)

    def read() -> bytes:
        if not silence.poll(body.TIMEOUT_S * 1000):
            raise Interrupted(f"the command gave no byte for {body.TIMEOUT_S} s")
        data = os.read(descriptor, CHUNK)
        if not data and process.wait():
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - MOST_SAID))
            last = in_one_line(*errors.read().decode(errors="replace").strip().splitlines()[-1:] or [""])
            raise Interrupted(f"the command ended with exit code {process.returncode} {last}".strip())
        return data

    def close() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        with process:
            errors.close()
            os.close(ours)

    return Body(0, None, read, close)
