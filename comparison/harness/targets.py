"""What is aimed at, and whether it was met."""

import statistics
from dataclasses import dataclass

from .results import number, spread, table


@dataclass
class Aim:
    """One figure of this service, against another system's of the same round or against a limit of its own."""

    what: str
    target: str
    label: str
    in_flight: int
    field: str
    limit: float
    # Whether the figure, or the ratio, is to be at most or at least the limit.
    at_most: bool
    against: str = None
    # How the figure is shown.
    scale: float = 1.0
    unit: str = ""
    # How the rounds are put together.
    of: callable = statistics.median

    def row(self, results):
        values = list(results.values(self.label, self.in_flight, self.field).values())
        if not values:
            return None
        shown = spread(value * self.scale for value in values) + self.unit
        if self.against is None:
            return [self.what, self.target, shown, "-", "-", self.verdict(self.of(values) * self.scale)]
        there = (self.against, self.in_flight)
        theirs = results.values(*there, self.field).values()
        ratios = results.ratios((self.label, self.in_flight), there, self.field)
        if not ratios:
            return [self.what, self.target, shown, "-", "-", "not measured"]
        ratio = self.of(ratios)
        return [
            self.what, self.target, shown, spread(value * self.scale for value in theirs) + self.unit,
            number(ratio), self.verdict(ratio),
        ]

    def verdict(self, value):
        met = value <= self.limit if self.at_most else value >= self.limit
        return "met" if met else "**not met**"


def aims(suffix="", crowd=""):
    """The targets, for 64 pairs of users, or for the crowd whose results have this suffix to their labels."""
    unary, stream = f"ours{suffix}", f"ours-stream{suffix}"
    found = [Aim(
        f"ack p50, 1 in flight{crowd}", "≤ 0.75 × etcd", unary, 1, "p50_us", 0.75, True, "etcd", 1e-3, " ms",
    )]
    for in_flight in (64, 256):
        rate = f"acks/s, {in_flight} in flight{crowd}"
        found += [
            Aim(rate, "≥ 2 × etcd", unary, in_flight, "acks_s", 2, False, "etcd"),
            Aim(rate, "≥ RabbitMQ", unary, in_flight, "acks_s", 1, False, "rabbitmq"),
            Aim(rate, "≥ 0.6 × echo", unary, in_flight, "acks_s", 0.6, False, "echo"),
        ]
    for in_flight in (64, 256, 1024):
        rate = f"acks/s streamed, {in_flight} in flight{crowd}"
        found += [
            Aim(rate, "≥ 2 × RabbitMQ", stream, in_flight, "acks_s", 2, False, "rabbitmq"),
            Aim(rate, "towards NATS R3", stream, in_flight, "acks_s", 1, False, "nats"),
        ]
    cpu = f"servers' CPU per 1,000 acks, 256 in flight{crowd}"
    found += [
        Aim(cpu, "≤ ⅓ etcd", unary, 256, "servers_cpu_ms_per_1k", 1 / 3, True, "etcd", unit=" ms"),
        Aim(f"the same streamed{crowd}", "≤ ½ RabbitMQ", stream, 256, "servers_cpu_ms_per_1k", 0.5, True, "rabbitmq", unit=" ms"),
        # What else the machine wrote meanwhile is counted too.
        Aim(f"flushes per ack, 1 in flight{crowd}", "3", unary, 1, "flushes_per_ack", 3.05, True),
        Aim(f"flushes per ack, 256 in flight{crowd}", "≤ 0.05", unary, 256, "flushes_per_ack", 0.05, True),
        Aim(f"flushes per ack streamed, 256 in flight{crowd}", "≤ 0.05", stream, 256, "flushes_per_ack", 0.05, True),
    ]
    return found


ONLINE = [
    Aim(
        f"delivery after the ack, {in_flight} in flight", "p50 ≤ 0.2 ms", "ours-online", in_flight,
        "after_ack.p50_us", 0.2, True, None, 1e-3, " ms",
    )
    for in_flight in (1, 64)
]


def of_kills(in_flight):
    """The gaps over kills, of however many rounds there were."""
    return [
        Aim("gap over kill -9 of the leader", "p50 ≤ 50 ms", "ours-kill-leader", in_flight, "gap_ms", 50, True, unit=" ms"),
        Aim("the same", "worst ≤ 200 ms", "ours-kill-leader", in_flight, "gap_ms", 200, True, unit=" ms", of=max),
        Aim("gap over kill -9 of a follower", "≤ 50 ms", "ours-kill-follower", in_flight, "gap_ms", 50, True, unit=" ms"),
    ]


def verdicts(results, in_flight_of_kills):
    """The table of targets: what was measured for each."""
    crowd = f" ({results.about.get('many_pairs', 0):,} pairs)"
    wanted = [*aims(), *ONLINE, *of_kills(in_flight_of_kills), *aims("-many", crowd)]
    rows = [row for row in (aim.row(results) for aim in wanted) if row]
    return table(["what", "target", "ours: median (min–max)", "theirs", "ratio", ""], rows)


def all_points(results):
    """The table of everything that was measured."""
    rows = []
    for (label, in_flight), rounds in sorted(results.points.items()):
        lines = list(rounds.values())

        def of(field, scale=1.0):
            return spread(line[field] * scale for line in lines)

        def middle(field, scale=1.0):
            return number(statistics.median(line[field] for line in lines) * scale)

        rows.append([
            label, in_flight, len(lines), of("acks_s"), middle("p50_us", 1e-3), middle("p99_us", 1e-3),
            middle("servers_cpu_ms_per_1k"), middle("client_cpu_ms_per_1k"), middle("servers_rss_mib"),
            middle("flushes_per_ack"), of("gap_ms"), middle("cpu_busy"), middle("others_cpu"),
        ])
    return table(
        ["what", "in flight", "rounds", "acks/s", "p50 ms", "p99 ms", "servers' CPU ms/1k", "client's CPU ms/1k",
         "servers' RSS MiB", "flushes/ack", "longest gap ms", "CPU busy", "others' CPU"],
        rows,
    )
