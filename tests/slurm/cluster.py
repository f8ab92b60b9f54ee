"""A real Slurm on machines made of kernel namespaces, each with its own address, host name, process numbers and /srv.

Needs root, util-linux, iproute2 and what Debian calls slurmctld, slurmd, slurm-client and munge. Other files are shared
by all, as on a cluster's file system. A machine is one `unshare` whose death is the death of all that runs on it, and
which dies with this process: nothing is left and nothing is found by name.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
ALONE = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}

BOOT = """
set -e
hostname {name}
ip link set lo up
for folder in /run /dev/shm /srv /var/spool; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mkdir /run/munge /run/gpu /var/spool/slurmd
mount --bind {etc}/hosts /etc/hosts
mount --bind {etc}/slurm /etc/slurm
mknod /run/gpu/0 c 1 3
echo booted
while :; do sleep 1000 & wait; done
"""

# [what a site has]
SLURM_CONF = """
ClusterName=test
SlurmctldHost=controller
AuthType=auth/munge
AuthInfo=cred_expire=5             # [120] a requeued job waits that long
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/var/spool/slurmd
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
SlurmdParameters=config_overrides  # more cores than there are
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=20                   # [300]
KillWait=30
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs=4 RealMemory=2000 Gres=gpu:1
{nodes}
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=1
PartitionName=grace Nodes=ALL State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL State=UP PriorityTier=2
"""


def missing() -> str | None:
    """Why there can be no cluster here."""
    programs = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if _program(name) is None]
    if programs:
        return f"no {', '.join(programs)} (apt-get install {PACKAGES})"
    if os.geteuid() != 0:
        return "only root makes machines"
    needed = "ip link add one type veth peer name two && ip link add three type bridge"
    needed += " && mount -t tmpfs tmpfs /run && mknod /run/null c 1 3"
    tried = subprocess.run([*ALONE, "sh", "-c", needed], capture_output=True, text=True)
    return f"no machines of namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    def __init__(self, name: str, address: str, etc: Path) -> None:
        self.name, self.address = name, address
        self._started: list[subprocess.Popen[str]] = []
        # dies with the thread that made it, and with it all of the machine
        command = ["setpriv", "--pdeathsig", "KILL", *ALONE, "bash", "-c", BOOT.format(name=name, etc=etc)]
        self._holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "booted\n", f"{name} did not boot"
        self._space = Path(self._namespace("pid_for_children")).readlink()

    def start(self, *command: str | Path, cwd: Path | None = None, log: Path | None = None) -> "subprocess.Popen[str]":
        """A command on this machine, as from an activated environment. Signals to what is returned do not reach it:
        they go to `processes`."""
        names = {"mount": "mnt", "uts": "uts", "ipc": "ipc", "net": "net", "pid": "pid_for_children"}
        enter = ["nsenter", *(f"--{option}={self._namespace(name)}" for option, name in names.items())]
        with Path(log or os.devnull).open("a") as out:
            process = subprocess.Popen(
                [*enter, "env", "-C", str(cwd or Path.cwd()), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=out if log else subprocess.PIPE,
                stderr=out if log else subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": "/srv", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            )
        self._started.append(process)
        return process

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        process = self.start(*command, cwd=cwd)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, f"{self.name}: {command} ended with {process.returncode}\n{out}\n{errors}"
        return out

    def processes(self, *words: str) -> list[int]:
        """Those on this machine, by their numbers here, whose command lines have all the words."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (entry / "ns/pid").readlink() == self._space:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if line and all(word in line for word in words):  # the dead that nobody has asked for have none
                        found.append(int(entry.name))
        return sorted(found)

    def kill(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        wait_until(lambda: not self.processes(), f"the end of {self.name}", 60)
        for process in self._started:
            with process:  # reaped, its pipes closed
                pass

    @property
    def pid(self) -> int:
        return self._holder.pid

    def network(self) -> list[str]:
        return ["nsenter", f"--net={self._namespace('net')}"]

    def plug_into(self, switch: "Machine") -> None:
        here = ["ip", "link", "add", f"to-{self.name}", "type", "veth", "peer", "name", "eth0"]
        _run(*switch.network(), *here, "netns", str(self._holder.pid))
        _run(*switch.network(), "ip", "link", "set", f"to-{self.name}", "master", "switch", "up")
        _run(*self.network(), "ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        _run(*self.network(), "ip", "link", "set", "eth0", "up")

    def _namespace(self, name: str) -> str:
        return f"/proc/{self._holder.pid}/ns/{name}"


class Cluster:
    """Machines `controller`, n1, n2 ... with Slurm running, while entered."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder, self._etc = folder, folder / "etc"
        self._addresses = {f"n{number}": f"10.77.0.{10 + number}" for number in range(1, nodes + 1)}
        self._machines: dict[str, Machine] = {}
        (self._etc / "slurm").mkdir(parents=True)
        folder.chmod(0o755)
        hosts = {"localhost": "127.0.0.1", "controller": "10.77.0.1", **self._addresses}
        (self._etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        lines = "\n".join(f"NodeName={name}" for name in self._addresses)
        (self._etc / "slurm/slurm.conf").write_text(SLURM_CONF.format(folder=folder, nodes=lines))
        (self._etc / "slurm/gres.conf").write_text("Name=gpu File=/run/gpu/0\n")
        (self._etc / "slurm/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self._etc / "munge.key").write_bytes(os.urandom(128))
        (self._etc / "munge.key").chmod(0o400)

    def __enter__(self) -> "Cluster":
        try:
            self.controller = self._boot("controller", "10.77.0.1")
            _run(*self.controller.network(), "ip", "link", "add", "switch", "type", "bridge", "forward_delay", "0")
            _run(*self.controller.network(), "ip", "address", "add", "10.77.0.1/24", "dev", "switch")
            _run(*self.controller.network(), "ip", "link", "set", "switch", "up")
            self.start_controller()
            for name in self._addresses:
                self.boot(name)
            self.wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self._machines.values():
            machine.kill()

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    @property
    def nodes(self) -> list[str]:
        return list(self._addresses)

    def start_controller(self) -> None:
        self.controller.start(_program("slurmctld") or "", "-D", log=self.folder / "slurmctld.out")
        wait_until(lambda: "UP" in self.controller.start("scontrol", "ping").communicate()[0], "slurmctld", 60)

    def boot(self, name: str) -> None:
        machine = self._boot(name, self._addresses[name])
        machine.plug_into(self.controller)
        machine.start(_program("slurmd") or "", "-D", "-N", name, log=self.folder / f"slurmd-{name}.out")

    def power_off(self, name: str) -> None:
        """Unplugged first: nobody hears a thing."""
        self.plug(name, False)
        self._machines.pop(name).kill()
        _run(*self.controller.network(), "ip", "link", "delete", f"to-{name}")

    def plug(self, name: str, plugged: bool) -> None:
        _run(*self.controller.network(), "ip", "link", "set", f"to-{name}", "up" if plugged else "down")

    def submit(self, *arguments: str | Path, cwd: Path) -> str:
        return self.controller.run("sbatch", "--parsable", *arguments, cwd=cwd).strip()

    def job(self, number: str) -> dict[str, str]:
        words = self.controller.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for_state(self, number: str, states: Iterable[str], timeout: float) -> dict[str, str]:
        wait_until(lambda: self.job(number)["JobState"] in states, f"job {number}: {'|'.join(states)}", timeout)
        return self.job(number)

    def wait_until_idle(self, timeout: float = 120) -> None:
        def idle() -> bool:
            states = self.controller.run("sinfo", "--noheader", "--partition=main", "--Node", "--format=%T").split()
            return states == ["idle"] * len(self.nodes)

        wait_until(idle, "idle nodes", timeout)

    def _boot(self, name: str, address: str) -> Machine:
        machine = self._machines[name] = Machine(name, address, self._etc)
        munge = [f"--key-file={self._etc}/munge.key", "--seed-file=/run/munge/seed", "--pid-file=/run/munge/pid"]
        munge += ["--socket=/run/munge/munge.socket.2", "--log-file=/run/munge/log"]
        machine.run(_program("munged") or "", "--force", *munge)
        return machine


def wait_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.1)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
