"""This machine: where things are built, which disk is meant, which ports are free, and processes that end with us."""

import atexit
import json
import os
import pathlib
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent


class Failed(Exception):
    """Something did not come about. The message says what to do."""


def say(*words):
    """Tells whoever watches; standard output is for tables alone."""
    print(*words, file=sys.stderr, flush=True)


def allow_many_files():
    """As many open files as the system lets us have: each subscriber is one here and one at the replica."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


# ---- building -------------------------------------------------------------------------------------------------------


def build(binaries=None):
    """Release builds of the load generator and of the servers, unless a folder with both is named. Paths by name."""
    if binaries:
        folder = pathlib.Path(binaries)
        found = {name: folder / name for name in ("comparison", "chat-server")}
        for path in found.values():
            if not path.exists():
                raise Failed(f"{path} is not there; leave --binaries out to have it built")
        found["fill"] = folder / "examples" / "fill"
        return found
    cargo(["build", "--release", "--locked"], HERE)
    cargo(["build", "--release", "--locked", "-p", "chat-server", "--features", "jemalloc"], REPOSITORY)
    cargo(["build", "--release", "--locked", "-p", "examples", "--example", "fill"], REPOSITORY)
    own, servers = target_folder(HERE) / "release", target_folder(REPOSITORY) / "release"
    return {
        "comparison": own / "comparison",
        "chat-server": servers / "chat-server",
        "fill": servers / "examples" / "fill",
    }


def cargo(arguments, folder):
    say("+ cargo", *arguments)
    if subprocess.run(["cargo", *arguments], cwd=folder).returncode != 0:
        raise Failed("it does not build")


def target_folder(folder):
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    said = subprocess.run(metadata, cwd=folder, capture_output=True, text=True, check=True)
    return pathlib.Path(json.loads(said.stdout)["target_directory"])


# ---- disk -----------------------------------------------------------------------------------------------------------


def disk_of(folder):
    """The disk that a folder lies on, as /proc/diskstats names it; a partition's flushes are counted at its disk."""
    device = os.stat(folder).st_dev
    link = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not link.exists():
        raise Failed(f"{folder} is on no disk, but in memory; name a folder on a disk with --data")
    path = link.resolve()
    return path.parent.name if (path / "partition").exists() else path.name


def file_bytes(path):
    """What a file takes on the disk, which may be less than its length."""
    return path.stat().st_blocks * 512


def free_bytes(folder):
    return shutil.disk_usage(folder).free


# ---- ports and processes --------------------------------------------------------------------------------------------


def is_open(port):
    with socket.socket() as attempt:
        attempt.settimeout(0.2)
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def free_port_base(offsets):
    """The first of ports that nobody listens on, at all these distances from it; below those of outgoing connections."""
    for base in range(13_000, 30_000, 317):
        if not any(is_open(base + offset) for offset in offsets):
            return base
    raise Failed("no free ports were found on this machine")


def wait_until(what, holds, seconds=30, pause=0.05):
    """Asks until the answer is yes, or something like it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = holds()
        if answer:
            return answer
        time.sleep(pause)
    raise Failed(f"{what}: not within {seconds} s")


def call(command, seconds=None):
    """What a command prints; fails with its own words if it does."""
    words = [str(word) for word in command]
    said = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    if said.returncode != 0:
        name = " ".join([pathlib.Path(words[0]).name, *words[1:3]])
        raise Failed(f"{name}: {said.stderr.strip() or said.stdout.strip()}")
    return said.stdout.strip()


_running = []


def start(command, log, env=None, stdin=None):
    """A server of ours to end. Its process group is its own, so that what it starts ends with it."""
    with open(log, "ab") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    _running.append(child)
    return child


def end(children, patience=10):
    """Ends processes, kindly at first."""
    for child in children:
        signal_group(child, signal.SIGTERM)
    limit = time.monotonic() + patience
    for child in children:
        try:
            child.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            signal_group(child, signal.SIGKILL)
            child.wait()
        signal_group(child, signal.SIGKILL)
        if child in _running:
            _running.remove(child)


def signal_group(child, which):
    try:
        os.killpg(child.pid, which)
    except (ProcessLookupError, PermissionError):
        pass


atexit.register(lambda: end(list(_running), patience=3))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


# ---- what it is -----------------------------------------------------------------------------------------------------


def describe(data):
    """The machine in a few words, for the head of a result."""
    model = "unknown processor"
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "kernel": platform.release(),
        "disk": disk_of(data),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def version_of(command):
    """The first line of what a program says of its version."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (said.stdout or said.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"
