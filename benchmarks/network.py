"""python -m benchmarks.network [--mbit 10 --delay-ms 50] [--cut-s 5]: a run on two machines over a bad network.

Two machines made of namespaces (root, Linux), connected by a wire that this program simulates: it carries frames as
fast as --mbit allows, each --delay-ms later in either direction, and nothing for --cut-s in the middle of the run. The
run must end with the same checkpoint, by its digest, as one over an unrestricted wire.
"""

import argparse
import fcntl
import heapq
import math
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.chaos import draw_sets
from tests.slurm.cluster import Machine
from train.run.checkpoint_files import newest

MAIN = Path(__file__).resolve().parents[1] / "train/main.py"
ADDRESSES = {"m1": "10.78.0.1", "m2": "10.78.0.2"}
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
BUFFER_S = 0.5  # beyond it frames are lost, as in a switch


class Wire:
    """Carries Ethernet frames between two machines, in a thread."""

    def __init__(self, machines: list[Machine], mbit: float, delay_s: float) -> None:
        self.cut = False
        self._rate, self._delay_s = mbit * 1e6 / 8, delay_s  # bytes/s
        self._ends = [self._plug(machine, f"wire{os.getpid() % 100000}-{end}") for end, machine in enumerate(machines)]
        threading.Thread(target=self._carry_until_a_machine_is_off, daemon=True).start()

    @staticmethod
    def _plug(machine: Machine, name: str) -> int:
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
        subprocess.run(["ip", "link", "set", name, "netns", str(machine.pid), "name", "eth0"], check=True)
        for arguments in (f"address add {machine.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*machine.network(), "ip", *arguments.split()], check=True)
        return end

    def _carry_until_a_machine_is_off(self) -> None:
        with suppress(OSError):
            self._carry()

    def _carry(self) -> None:
        free_at, under_way, number = [0.0, 0.0], [], 0
        while True:
            wait_s = max(under_way[0][0] - time.monotonic(), 0) if under_way else 1.0
            ready, _, _ = select.select(self._ends, [], [], wait_s)
            for end in ready:
                frame, sender, now = os.read(end, 65536), self._ends.index(end), time.monotonic()
                begin = max(now, free_at[sender])
                if not self.cut and begin - now < BUFFER_S:
                    free_at[sender] = begin + len(frame) / self._rate
                    number += 1
                    heapq.heappush(under_way, (free_at[sender] + self._delay_s, number, 1 - sender, frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, receiver, frame = heapq.heappop(under_way)
                if not self.cut:
                    os.write(self._ends[receiver], frame)


def config(folder: Path) -> Path:
    path = folder / "network.yaml"
    path.write_text(
        f"""
        run: unnamed
        epochs: 4
        data: {{train: {folder}/train, val: {folder}/val, batch: 8, sides: [64, 96], workers: 1}}
        model: {{width: 0.0625, bn_momentum: 0.1}}
        step: {{precision: fp32}}
        schedule: {{rate: 1.0e-3, burn_in_images: 100, drop_images: []}}
        evaluate: {{side: 96}}
        checkpoint: {{every_images: 32}}
        board: {{every_batches: 1}}
        """
    )
    return path


def train(machines: list[Machine], path: Path, run: Path, wire: Wire, cut_s: float) -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=0"]
    command += ["--rdzv-backend=c10d", f"--rdzv-endpoint={machines[0].address}:29500", f"--rdzv-id={run.name}"]
    logs = [run.parent / f"{run.name}-{machine.name}.log" for machine in machines]
    agents = [
        machine.start(*command, MAIN, path, f"run={run}", cwd=run.parent, log=log)
        for machine, log in zip(machines, logs, strict=True)
    ]
    if cut_s:
        while "images/s" not in (logs[0].read_text() if logs[0].exists() else ""):
            time.sleep(0.1)
        print(f"  cut after {time.monotonic() - began:.0f} s", flush=True)
        wire.cut, cut_at = True, time.monotonic()
        while any(agent.poll() is None for agent in agents) and time.monotonic() - cut_at < cut_s:
            time.sleep(0.1)
        wire.cut = False
    for machine, agent in zip(machines, agents, strict=True):
        print(
            f"  torchrun of {machine.name} ended with {agent.wait()} after {time.monotonic() - began:.0f} s", flush=True
        )
    speeds = [float(found) for found in re.findall(r"([\d.]+) images/s", logs[0].read_text())]
    path_of_last = newest(run / "checkpoints")
    print(f"  {len(speeds)} steps, median {sorted(speeds)[len(speeds) // 2] if speeds else math.nan:.1f} images/s")
    print(f"  last checkpoint {path_of_last.name if path_of_last else None}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    parser.add_argument("--mbit", type=float, default=1000.0)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="one way")
    parser.add_argument("--cut-s", type=float, default=0.0, help="inf: permanently")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_sets(folder)
        path = config(folder)
        (folder / "etc/slurm").mkdir(parents=True)
        hosts = {"localhost": "127.0.0.1", **ADDRESSES}
        (folder / "etc/hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        for name, wish in (("plain", (1000.0, 0.0, 0.0)), ("bad", (options.mbit, options.delay_ms, options.cut_s))):
            machines = [Machine(name, address, folder / "etc") for name, address in ADDRESSES.items()]
            print(f"{wish[0]:g} Mbit/s, {wish[1]:g} ms each way, cut for {wish[2]:g} s", flush=True)
            try:
                train(machines, path, folder / name, Wire(machines, wish[0], wish[1] / 1e3), wish[2])
            finally:
                for machine in machines:
                    machine.kill()


if __name__ == "__main__":
    main()
