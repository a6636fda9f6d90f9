"""What one would use instead: three servers each, as their packages have them, with default settings but for where."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from .machine import Failed, end, free_port_base, is_open, start, version_of, wait_until


class Peer:
    """Three servers on loopback, with a data folder each."""

    name = system = "peer"
    # How long one attempt may take in a failover, before the next server is tried.
    attempt_ms = 250
    # How long the load goes on after the kill: elections of some take seconds.
    failover_seconds = 15

    def __init__(self, load, folder, replicas=3):
        self.load, self.folder, self.replicas = load, pathlib.Path(folder), replicas
        self.children = []

    def clear(self, offsets):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.base = free_port_base(offsets)

    def wait_for_ports(self, offset=0, seconds=90):
        for server in range(self.replicas):
            port = self.base + offset + server
            wait_until(f"{self.name} on port {port}; see {self.folder}/n{server}.log", lambda p=port: is_open(p), seconds)

    def stop(self):
        end(self.children)
        self.children = []

    def addresses(self):
        return [f"127.0.0.1:{self.base + server}" for server in range(self.replicas)]

    def targets(self):
        """The servers, the leader first."""
        leader = self.leader()
        servers = self.addresses()
        return [servers[leader], *servers[:leader], *servers[leader + 1:]]

    def leader(self):
        return int(self.load.call("leader", self.system, "--targets", ",".join(self.addresses())))

    def pids(self):
        return [child.pid for child in self.children]

    def pid(self, server):
        return self.pids()[server]

    def send_options(self):
        return []

    def prepare_kill(self, of):
        leader = self.leader()
        return leader if of == "leader" else next(one for one in range(self.replicas) if one != leader)

    def bring_back(self, _server):
        """Begins anew: what is measured is the kill, not the return."""
        self.stop()
        self.start()


class Etcd(Peer):
    name = system = "etcd"

    @staticmethod
    def find():
        return shutil.which("etcd")

    @staticmethod
    def version():
        return version_of(["etcd", "--version"])

    def start(self):
        self.clear([far + near for far in (0, 100) for near in range(self.replicas)])
        peers = ",".join(f"n{n}=http://127.0.0.1:{self.base + 100 + n}" for n in range(self.replicas))
        for n in range(self.replicas):
            client, peer = f"http://127.0.0.1:{self.base + n}", f"http://127.0.0.1:{self.base + 100 + n}"
            self.children.append(start(
                ["etcd", "--name", f"n{n}", "--data-dir", self.folder / f"n{n}",
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--initial-cluster", peers, "--initial-cluster-state", "new"],
                self.folder / f"n{n}.log",
            ))
        self.wait_for_ports()
        wait_until("an etcd leader", self.has_leader, 30, pause=0.3)
        return self

    def has_leader(self):
        try:
            self.leader()
            return True
        except Failed:
            return False


class Nats(Peer):
    name = system = "nats"

    @staticmethod
    def find():
        return shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")

    @classmethod
    def version(cls):
        return version_of([cls.find(), "--version"])

    def start(self):
        self.clear([far + near for far in (0, 100) for near in range(self.replicas)])
        routes = ", ".join(f"nats://127.0.0.1:{self.base + 100 + n}" for n in range(self.replicas))
        for n in range(self.replicas):
            config = self.folder / f"n{n}.conf"
            config.write_text(
                f"server_name: n{n}\nlisten: 127.0.0.1:{self.base + n}\n"
                f'jetstream {{ store_dir: "{self.folder}/n{n}" }}\n'
                f"cluster {{ name: comparison, listen: 127.0.0.1:{self.base + 100 + n}, routes: [{routes}] }}\n"
            )
            self.children.append(start([self.find(), "-c", config], self.folder / f"n{n}.log"))
        self.wait_for_ports()
        self.load.call("prepare", "nats", "--targets", ",".join(self.addresses()), "--replicas", self.replicas)
        wait_until("a leader of the NATS stream", self.has_leader, 30, pause=0.3)
        time.sleep(1)
        return self

    has_leader = Etcd.has_leader


class Rabbitmq(Peer):
    name = system = "rabbitmq"
    attempt_ms = 1000
    failover_seconds = 25

    @staticmethod
    def find():
        """The folder of the scripts: the packages' wrapper insists on a user of its own and on one node."""
        wrapper = shutil.which("rabbitmq-server") or shutil.which("rabbitmq-server", path="/usr/sbin")
        if not wrapper:
            return None
        found = sorted(pathlib.Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"))
        return found[-1].parent if found else pathlib.Path(wrapper).resolve().parent

    @classmethod
    def version(cls):
        found = re.search(r"rabbitmq_server-([0-9.]+)", str(cls.find()))
        return f"RabbitMQ {found.group(1)}" if found else "RabbitMQ, version unknown"

    def start(self):
        # Erlang's port mapper, then clients, then the servers among themselves.
        self.clear([90, *[far + near for far in (0, 100) for near in range(self.replicas)]])
        home = self.folder / "home"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text("comparison")
        cookie.chmod(0o400)
        nodes = "".join(
            f"cluster_formation.classic_config.nodes.{n + 1} = r{n}@localhost\n" for n in range(self.replicas)
        )
        (self.folder / "rabbitmq.conf").write_text(
            "cluster_formation.peer_discovery_backend = classic_config\n" + nodes
            + "log.console = true\nlog.console.level = warning\n"
        )
        (self.folder / "plugins").write_text("[].")
        self.env = {
            "ERL_EPMD_PORT": str(self.base + 90), "ERL_EPMD_ADDRESS": "127.0.0.1", "HOME": str(home),
        }
        self.children = [start(["epmd"], self.folder / "epmd.log", env=self.env)]
        wait_until("Erlang's port mapper", lambda: is_open(self.base + 90), 10)
        for n in range(self.replicas):
            self.children.append(self.start_node(n))
            # They find each other one by one; at once they might make two clusters.
            time.sleep(3)
        self.wait_for_ports()
        wait_until("the RabbitMQ cluster", self.is_whole, 90, pause=1)
        self.load.call("prepare", "rabbitmq", "--targets", ",".join(self.addresses()), "--replicas", self.replicas)
        time.sleep(1)
        return self

    def start_node(self, n):
        env = {
            **self.env,
            "RABBITMQ_NODENAME": f"r{n}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.base + n), "RABBITMQ_DIST_PORT": str(self.base + 100 + n),
            "RABBITMQ_MNESIA_BASE": str(self.folder / f"n{n}"), "RABBITMQ_LOG_BASE": str(self.folder / f"log{n}"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_PID_FILE": str(self.folder / f"n{n}.pid"),
        }
        return start([self.find() / "rabbitmq-server"], self.folder / f"n{n}.log", env=env)

    def is_whole(self):
        said = subprocess.run(
            [str(self.find() / "rabbitmqctl"), "-q", "-n", "r0@localhost", "eval", "length(rabbit_mnesia:cluster_nodes(running))."],
            capture_output=True, text=True, env={**os.environ, **self.env},
        )
        return said.stdout.strip() == str(self.replicas)

    def stop(self):
        # Its runtime is in process groups of its own.
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        super().stop()

    def leader(self):
        # The queue's leader is where it was declared.
        return 0

    def pids(self):
        files = (self.folder / f"n{n}.pid" for n in range(self.replicas))
        return [int(file.read_text()) for file in files if file.exists()]


class Echo(Peer):
    """A call that does nothing, by one server: what the transport alone costs."""

    name = system = "echo"

    def __init__(self, load, folder):
        super().__init__(load, folder, replicas=1)

    def start(self):
        self.clear([0])
        self.children = [start(
            [self.load.binary, "echo", "--listen", f"127.0.0.1:{self.base}"], self.folder / "n0.log",
        )]
        self.wait_for_ports()
        return self

    def leader(self):
        return 0


PEERS = {"etcd": Etcd, "rabbitmq": Rabbitmq, "nats": Nats}
