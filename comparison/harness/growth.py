"""How the cost of this service grows: one function for each thing that grows."""

import json
import pathlib
import shutil
import subprocess
import time

from . import machine
from .machine import Failed, call, say, wait_until
from .ours import Ours

MIB = 1 << 20


class Growth:
    """What all parts need."""

    def __init__(self, binaries, load, given):
        self.binaries, self.load, self.given = binaries, load, given

    def cluster(self, replicas=3):
        ours = Ours(self.binaries, self.load, self.given.data / "growth", replicas)
        ours.create()
        return ours

    def keep(self, part, row):
        """A finished row, which is shown and kept at once: the next one may take long."""
        row = {"part": part, **row}
        say("  " + ", ".join(f"{name} {value:,.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()))
        return self.load.keep(row)

    def send(self, servers, in_flight, *extra):
        return self.load.send(
            servers, in_flight=in_flight, seconds=self.given.seconds, warm_up=self.given.warm_up, extra=extra,
        )

    def sends(self, servers, *extra):
        """What a send costs: alone, and among many."""
        alone, many = (self.send(servers, in_flight, *extra) for in_flight in (1, 64))
        return {
            "p50_ms": alone["p50_us"] / 1e3, "p99_ms": alone["p99_us"] / 1e3, "acks_s_64": many["acks_s"],
            "cpu_ms_per_1k_64": many["servers_cpu_ms_per_1k"], "flushes_per_ack_64": many["flushes_per_ack"],
            "disk_kib_per_ack_64": many["disk_bytes_per_ack"] / 1024,
            "others_cpu": max(alone["others_cpu"], many["others_cpu"]),
        }

    def rss_mib(self, servers):
        """Resident memory of the largest replica."""
        return max(resident_kib(pid) for pid in servers.pids()) / 1024

    def restart_ms(self, servers):
        """From the start of all replicas, after all were killed at once, to the first answers."""
        for replica in list(servers.children):
            servers.kill_one(replica)
        begun = time.monotonic()
        for replica in range(servers.replicas):
            servers.start_one(replica)
        self.load.call("serving", "--targets", ",".join(servers.targets()), "--sessions", servers.sessions)
        return (time.monotonic() - begun) * 1e3

    def backup_bytes(self, servers):
        """The rows' logical bytes: keys and values, as a backup has them one behind the other."""
        file = servers.folder / "backup"
        file.unlink(missing_ok=True)
        call([self.binaries["chat-server"], "backup", file, "--data-dir", servers.data(min(servers.children))])
        size = file.stat().st_size
        file.unlink()
        return size

    def check_room(self, messages, replicas):
        """What messages of 100 bytes take on each replica, and a backup."""
        needed = messages * replicas * 600
        free = machine.free_bytes(self.given.data)
        if free < needed:
            raise Failed(f"{messages:,} messages need about {needed >> 30} GiB, and {free >> 30} are free; use --data")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


# ---- the parts ------------------------------------------------------------------------------------------------------


def replicas(growth):
    for count in growth.given.replicas:
        servers = growth.cluster(count)
        try:
            servers.start()
            growth.keep("replicas", {"replicas": count, **growth.sends(servers)})
        finally:
            servers.stop()


def bodies(growth):
    for size in growth.given.bodies:
        servers = growth.cluster()
        try:
            servers.start()
            growth.keep("bodies", {"body_bytes": size, **growth.sends(servers, "--size", size)})
        finally:
            servers.stop()


def accounts(growth):
    for count in growth.given.accounts:
        servers = growth.cluster()
        try:
            say("  " + servers.fill(count, 0))
            # Messages of many accounts, but not of more than can be logged in soon.
            servers.start(pairs=min(count // 2, 10_000), senders_only=True)
            row = {"accounts": count, **growth.sends(servers), "rss_mib": growth.rss_mib(servers)}
            growth.keep("accounts", {**row, "restart_ms": growth.restart_ms(servers)})
        finally:
            servers.stop()


def messages(growth):
    """From an empty store on; the last row is to be compared with the first."""
    people = growth.given.people
    for count in growth.given.messages:
        growth.check_room(count, 3)
        servers = growth.cluster()
        try:
            say("  " + servers.fill(people, count))
            servers.start(pairs=people // 2, senders_only=True)
            row = {"messages": count, **growth.sends(servers)}
            row |= history(growth, servers)
            row |= {"rss_mib": growth.rss_mib(servers)}
            row |= {"restart_ms": growth.restart_ms(servers)}
            time.sleep(2)
            row |= {"rss_after_restart_mib": growth.rss_mib(servers)}
            logical = growth.backup_bytes(servers)
            growth.keep("messages", {**row, "logical_mib": logical / MIB})
        finally:
            servers.stop()


def history(growth, servers):
    said = growth.load.call(
        "history", "--targets", ",".join(servers.targets()), "--sessions", servers.sessions,
        "--seconds", growth.given.seconds, "--in-flight", 1,
    )
    pages = json.loads(said)
    return {
        "page_p50_ms": pages["p50_us"] / 1e3, "page_p99_ms": pages["p99_us"] / 1e3,
        "page_messages": pages["messages_per_page"],
    }


def subscribers(growth):
    most = machine.allow_many_files() - 1000
    # One at a replica that follows, as most are.
    for count in growth.given.subscribers:
        if count > most:
            say(f"  {count} subscribers need more open files than {most}, and are left out; raise `ulimit -Hn`")
            continue
        servers = growth.cluster()
        try:
            servers.fill(max(count, 128), 0)
            servers.start(pairs=max(count // 2, 64))
            # What logins left in memory is not the subscribers'.
            growth.restart_ms(servers)
            servers.wait_for_view()
            replica = servers.follower()
            with Subscribers(growth, servers, replica, count) as held:
                row = {"subscribers": count, **held}
                growth.keep("subscribers", {**row, **growth.sends(servers)})
        finally:
            servers.stop()


class Subscribers:
    """Held as long as it is entered. What it gives is what they cost the replica."""

    def __init__(self, growth, servers, replica, count):
        self.command = growth.load.command([
            "subscribers", "--target", servers.targets()[replica], "--sessions", servers.sessions,
            "--count", count, "--pid", servers.pid(replica), "--settle-seconds", growth.given.settle, "--hold",
        ])

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        if not line:
            self.child.wait()
            raise Failed("the subscribers could not be held")
        said = json.loads(line)
        return {"seconds_to_open": said["seconds"], "kib_each": said["kib_each"], "rss_mib": said["rss_mib"]}

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()


def snapshot(growth):
    """Two replicas join one that is full: the first while nothing else happens, the second under load."""
    count = growth.given.snapshot_messages
    growth.check_room(count, 3)
    servers = growth.cluster()
    try:
        say("  " + servers.fill(1000, count, replicas=[0]))
        servers.start_one(0)
        servers.wait_for_view([0])
        servers.make_accounts(64, senders_only=True)
        size = growth.backup_bytes(servers)
        idle = joining(servers, 1)
        growth.keep("snapshot", {"messages": count, "mib": size / MIB, "under_load": "no", **rates(size, idle)})
        before = growth.send(servers, 64)
        with Sending(growth, servers, seconds=30 * idle["joined"] + 60) as sending:
            loaded = joining(servers, 2)
        during = sending.result
        # The third replica's own share of the processors is not the snapshot's doing.
        after = growth.send(servers, 64)
        growth.keep("snapshot", {
            "messages": count, "mib": size / MIB, "under_load": "yes", **rates(size, loaded),
            "acks_s_before": before["acks_s"], "acks_s_during": during["acks_s"],
            "acks_s_after": after["acks_s"], "share_of_rate": during["acks_s"] / before["acks_s"],
        })
    finally:
        servers.stop()


def joining(servers, replica):
    """How long a replica with an empty folder takes until it is a member of the view, and for how much of that its snapshot
    is on its way."""
    shutil.rmtree(servers.data(replica), ignore_errors=True)
    begun = time.monotonic()
    servers.start_one(replica, level="info")
    wait_until(
        f"replica {replica} joins", lambda: replica in servers.status(0).get(0, {}).get("view", []), 3600,
        # Asking costs as well.
        pause=0.2,
    )
    joined = time.monotonic() - begun
    return {"transfer": servers.seconds_between(replica, "taking a snapshot", "took a snapshot"), "joined": joined}


def rates(size, seconds):
    """Of the snapshot itself, from its first piece until it is installed. The replica is then watched for two seconds before
    it is taken into the view, however little there was to transfer."""
    return {
        "transfer_seconds": seconds["transfer"], "transfer_mib_s": size / MIB / seconds["transfer"],
        "joined_seconds": seconds["joined"], "joined_mib_s": size / MIB / seconds["joined"],
    }


class Sending:
    """A load that lasts as long as it is entered. Its result is there afterwards."""

    def __init__(self, growth, servers, seconds):
        growth.load.messages += 1
        self.command = growth.load.command([
            "send", "ours", "--targets", ",".join(servers.targets()), "--in-flight", 64, "--seconds", seconds,
            "--warm-up-seconds", growth.given.warm_up, "--until-told", "--first-id", growth.load.messages << 40,
            *servers.send_options(),
        ])
        self.warm_up = growth.given.warm_up

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(self.warm_up)
        return self

    def __exit__(self, *_):
        said, _ = self.child.communicate(timeout=120)
        self.result = json.loads(said.splitlines()[-1]) if said else None
        if self.result is None:
            raise Failed("the load beside it failed")


def disk(growth):
    """What is on a replica's disk, of rows with so many logical bytes."""
    for count in growth.given.disk_messages:
        growth.check_room(count, 1)
        servers = growth.cluster(1)
        try:
            say("  " + servers.fill(1000, count))
            servers.start(pairs=500, senders_only=True)
            # Part of it over the API, so that there is a log and that pages were written again.
            growth.load.send(servers, in_flight=256, seconds=growth.given.seconds, warm_up=0, system="ours-stream")
            logical = growth.backup_bytes(servers)
            servers.stop()
            row = {"messages": count, "logical_mib": logical / MIB, **on_disk(servers, "before")}
            begun = time.monotonic()
            say(call([growth.binaries["chat-server"], "compact", "--config", servers.config(), "--id", 0]))
            row |= {"compact_seconds": time.monotonic() - begun, **on_disk(servers, "after")}
            growth.keep("disk", {
                **row, "ratio_before": row["mib_before"] * MIB / logical, "ratio_after": row["mib_after"] * MIB / logical,
            })
        finally:
            servers.stop()


def on_disk(servers, when):
    """What the log and the state take, the log's segments among them."""
    folder = servers.data(0)
    sizes = {path: machine.file_bytes(path) / MIB for path in filter(pathlib.Path.is_file, folder.rglob("*"))}
    log, state = (
        sum(size for path, size in sizes.items() if path.relative_to(folder).parts[0] in names)
        for names in (("log",), ("state.redb",))
    )
    return {f"mib_{when}": sum(sizes.values()), f"log_mib_{when}": log, f"state_mib_{when}": state}


PARTS = {part.__name__: part for part in (replicas, bodies, accounts, messages, subscribers, snapshot, disk)}
