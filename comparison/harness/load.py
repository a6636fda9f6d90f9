"""The load generator."""

import json

from .machine import call


class Load:
    """Calls the load generator. Results go to a file of JSON lines as well."""

    def __init__(self, binary, disk, out=None):
        self.binary, self.disk, self.out = binary, disk, out
        self.messages = 0

    def command(self, arguments):
        return [str(self.binary), *[str(word) for word in arguments]]

    def call(self, *arguments, seconds=600):
        """What it prints; fails if it does."""
        return call(self.command(arguments), seconds)

    def measure(self, *arguments, seconds=600, more=None):
        """The last line as a result, which is also appended to the file, with what else is known of it."""
        result = json.loads(self.call(*arguments, seconds=seconds).splitlines()[-1])
        return self.keep({**result, **(more or {})})

    def keep(self, result):
        if self.out:
            with open(self.out, "a") as file:
                file.write(json.dumps(result) + "\n")
        return result

    def send(self, servers, *, in_flight, seconds, warm_up, round_number=1, label=None, system=None, more=None, extra=()):
        """Sends messages to servers, and says what was measured."""
        # No two runs use the same ids.
        self.messages += 1
        return self.measure(
            "send", system or servers.system, "--targets", ",".join(servers.targets()),
            "--in-flight", in_flight, "--seconds", seconds, "--warm-up-seconds", warm_up,
            "--round", round_number, "--label", label or servers.name,
            "--pids", ",".join(map(str, servers.pids())), "--disk", self.disk,
            "--first-id", self.messages << 40, *servers.send_options(), *extra,
            seconds=seconds + warm_up + 120, more=more,
        )
