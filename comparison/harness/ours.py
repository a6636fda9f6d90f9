"""Clusters of this service."""

import datetime
import json
import pathlib
import re
import shutil
import signal
import time

from .machine import Failed, call, end, free_port_base, is_open, start, wait_until

# So that the limits of what one account and one address may ask for are not what is measured. Passwords cost next to
# nothing, since accounts are made before the measured time and would only make it begin later.
LIMITS = {
    "CHAT_LIMITS__REQUESTS_PER_ACCOUNT": "1000000",
    "CHAT_LIMITS__REQUESTS_PER_ADDRESS": "1000000",
    "CHAT_LIMITS__REGISTRATIONS_PER_ADDRESS": "1000000",
    "CHAT_LIMITS__UNDELIVERED_PER_RECIPIENT": "10000000",
    "CHAT_LIMITS__CALLS_PER_CONNECTION": "4096",
    "CHAT_LIMITS__MAX_CONNECTIONS": "50000",
    "CHAT_LIMITS__CONNECTIONS_PER_ADDRESS": "50000",
    "CHAT_LIMITS__HASH_MEMORY_KIB": "8",
    "CHAT_LIMITS__HASH_PASSES": "1",
}


class Ours:
    """Replicas of this service on loopback, with a data folder each."""

    system = "ours"

    def __init__(self, binaries, load, folder, replicas=3, name="ours"):
        self.binaries, self.load, self.name = binaries, load, name
        self.folder = pathlib.Path(folder)
        self.replicas = replicas
        self.children = {}
        self.sessions = self.folder / "sessions"
        self.online = False

    # -- beginning and ending

    def create(self):
        """An empty cluster: its file and folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        offsets = [far + near for far in (0, 100, 200) for near in range(self.replicas)]
        self.base = free_port_base(offsets)
        call([
            self.binaries["chat-server"], "config", "new", "--out", self.config(),
            "--replicas", self.replicas, "--base-port", self.base,
        ])

    def fill(self, accounts, messages, body=100, replicas=None):
        """Accounts and messages in folders that no replica uses yet. Says what the filling said."""
        only = ["--replicas", ",".join(map(str, replicas))] if replicas else []
        return call([
            self.binaries["fill"], "--config", self.config(), "--accounts", accounts,
            "--messages", messages, "--body", body, *only,
        ])

    def start(self, pairs=64, senders_only=False):
        """All replicas, and pairs of accounts with sessions."""
        for replica in range(self.replicas):
            self.start_one(replica)
        self.wait_for_view()
        if pairs:
            self.make_accounts(pairs, senders_only)
        return self

    def make_accounts(self, pairs, senders_only=False):
        self.load.call(
            "accounts", "--targets", ",".join(self.targets()), "--pairs", pairs, "--sessions", self.sessions,
            *(["--senders-only"] if senders_only else []), seconds=3600,
        )

    def start_one(self, replica, level="warn"):
        self.children[replica] = start(
            [self.binaries["chat-server"], "run", "--config", self.config(), "--id", replica, "--log-level", level],
            self.log(replica), env=LIMITS,
        )

    def stop(self):
        end(list(self.children.values()))
        self.children = {}

    def stop_one(self, replica):
        end([self.children.pop(replica)])

    def kill_one(self, replica):
        """As `kill -9`."""
        child = self.children.pop(replica)
        child.send_signal(signal.SIGKILL)
        child.wait()
        end([child])

    def reap(self, replica):
        """Forgets one that somebody else has killed."""
        self.kill_one(replica)

    # -- looking

    def config(self):
        return self.folder / "cluster.toml"

    def data(self, replica):
        return self.folder / f"replica-{replica}"

    def log(self, replica):
        return self.folder / f"replica-{replica}.log"

    def seconds_between(self, replica, first, last):
        """Between the last lines of a replica's log that hold these words."""
        times = []
        for words in (first, last):
            lines = [line for line in self.log(replica).read_text().splitlines() if words in line]
            if not lines:
                raise Failed(f"replica {replica} does not say `{words}`; see {self.log(replica)}")
            stamp = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+", lines[-1])
            times.append(datetime.datetime.fromisoformat(stamp[0]))
        return (times[1] - times[0]).total_seconds()

    def targets(self):
        return [f"127.0.0.1:{self.base + replica}" for replica in range(self.replicas)]

    addresses = targets

    def pids(self):
        return [child.pid for child in self.children.values()]

    def pid(self, replica):
        return self.children[replica].pid

    def send_options(self):
        return ["--sessions", self.sessions, *(["--online"] if self.online else [])]

    def status(self, replica=None):
        """What replicas say of themselves, by replica; those that do not answer are missing."""
        asked = range(self.replicas) if replica is None else [replica]
        lines = []
        for one in asked:
            if one in self.children and is_open(self.base + one):
                lines += self.load.call("status", "--targets", self.targets()[one]).splitlines()
        said = [json.loads(line) for line in lines]
        return {one["replica"]: one for one in said}

    def wait_for_view(self, replicas=None, seconds=120):
        """Until the running replicas, or these, are the view, and all of them say so and serve."""
        wanted = sorted(replicas if replicas is not None else self.children)

        def holds():
            status = self.status()
            serving = [
                one for one in wanted
                if one in status and sorted(status[one]["view"]) == wanted and not status[one]["waiting_for"]
                and status[one]["leader"] is not None
            ]
            return serving == wanted

        wait_until(f"a view of the replicas {wanted}; see {self.folder}/replica-*.log", holds, seconds, pause=0.1)

    def leader(self):
        return next(iter(self.status().values()))["leader"]

    def follower(self):
        leader = self.leader()
        return next(replica for replica in sorted(self.children) if replica != leader)

    # -- failover

    def prepare_kill(self, of):
        """The process that is to be killed, by its replica."""
        self.wait_for_view(range(self.replicas))
        # The preferred leader takes over again when it is back: only then is the cluster at rest.
        time.sleep(1)
        return self.leader() if of == "leader" else self.follower()

    def bring_back(self, replica):
        self.reap(replica)
        self.start_one(replica)
        self.wait_for_view(range(self.replicas))
