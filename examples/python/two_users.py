#!/usr/bin/env python3
"""Two users, in Python: register, log in, send, subscribe and page through the history, whoever leads or dies meanwhile.

    python3 -m venv venv && venv/bin/pip install grpcio grpcio-tools
    venv/bin/python examples/python/two_users.py 127.0.0.1:7400 127.0.0.1:7401 127.0.0.1:7402

The code for the calls is generated from the .proto files when the program starts, into a folder that goes with it. What
a client in any language has to do itself is in `Chat`: it asks one replica after the other, repeats a write under the
same request id so that it takes effect once, sends back the latest read token so that it never sees less than before,
and goes on with its events behind the last one that it had.
"""

import argparse
import importlib
import os
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import grpc
from grpc_tools import protoc

PROTOS = Path(__file__).parents[2] / "chat-client" / "proto"
# What another replica, or the same one a little later, may answer better.
TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
ATTEMPT_SECONDS = 2
PATIENCE_SECONDS = 30


def generate(folder):
    """The modules for the messages and the calls of each .proto file, by the file's name."""
    files = sorted(str(path) for path in PROTOS.glob("chat/v1/*.proto"))
    includes = [f"-I{PROTOS}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *includes, *files]) != 0:
        raise SystemExit("error: the .proto files could not be compiled")
    sys.path.insert(0, folder)
    names = [Path(file).stem for file in files]
    modules = {name: importlib.import_module(f"chat.v1.{name}_pb2") for name in names}
    stubs = {name: importlib.import_module(f"chat.v1.{name}_pb2_grpc") for name in names}
    return modules, stubs


def uuid7():
    """A request id: UUID version 7, so that ids that are made later are greater."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


class Chat:
    """One user's connection to a cluster."""

    def __init__(self, api, servers):
        self.modules, self.stubs = api
        # Looks for a replica that is back twice a second, instead of ever more rarely, and leaves one that is silent.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.keepalive_time_ms", 5_000),
            ("grpc.keepalive_timeout_ms", 2_000),
        ]
        self.channels = [grpc.insecure_channel(server, options) for server in servers]
        self.at = 0
        self.session = None
        self.read_token = None

    def call(self, service, method, **fields):
        """Asks until a replica answers. A refusal that no replica would answer differently is raised at once."""
        module = self.modules[f"{service}_service"]
        request = getattr(module, f"{method}Request")(**fields)
        if hasattr(request, "request_id"):
            request.request_id = uuid7()  # The same one for all attempts.
        if hasattr(request, "read_token") and self.read_token is not None:
            request.read_token.CopyFrom(self.read_token)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self.method(service, method)(request, metadata=self.metadata(), timeout=ATTEMPT_SECONDS)
                self.read_token = response.read_token
                return response
            except grpc.RpcError as error:
                if error.code() not in TRANSIENT or time.monotonic() > deadline:
                    raise
            self.go_on()

    def log_in(self, name, password):
        self.session = self.call("auth", "Login", username=name, password=password).session_token

    def events(self):
        """The account's events, without end and without repetition, from whichever replica is alive."""
        resume, fresh = b"", time.monotonic() + PATIENCE_SECONDS
        request = self.modules["event_service"].SubscribeRequest
        while True:
            try:
                for event in self.method("event", "Subscribe")(request(resume_token=resume), metadata=self.metadata()):
                    resume = event.resume_token or resume
                    if event.WhichOneof("event") == "draining":
                        break
                    yield event
            except grpc.RpcError as error:
                # A replica may hear of a new session a moment later than the one that opened it.
                unheard = error.code() == grpc.StatusCode.UNAUTHENTICATED and time.monotonic() < fresh
                if error.code() not in TRANSIENT and not unheard:
                    raise
            self.go_on()

    def history(self, peer):
        """The whole conversation with somebody, oldest first."""
        messages, token = [], ""
        while True:
            page = self.call("message", "ListHistory", peer=peer, page_size=7, page_token=token)
            messages.extend(page.messages)
            token = page.next_page_token
            if not token:
                return messages[::-1]

    def method(self, service, method):
        stub = getattr(self.stubs[f"{service}_service"], f"{service.capitalize()}ServiceStub")
        return getattr(stub(self.channels[self.at]), method)

    def metadata(self):
        return [("authorization", f"Bearer {self.session}")] if self.session else []

    def go_on(self):
        self.at = (self.at + 1) % len(self.channels)
        time.sleep(0.05)


class Recipient(threading.Thread):
    """Receives messages, confirms them and keeps what they said, each once."""

    def __init__(self, chat, confirm):
        super().__init__(daemon=True)
        self.chat, self.confirm = chat, confirm
        self.live = threading.Event()
        self.bodies = []
        self.ids = set()

    def run(self):
        for event in self.chat.events():
            kind = event.WhichOneof("event")
            if kind == "ready":
                print(f"listening at replica {event.ready.replica_id}", flush=True)
                self.live.set()
            if kind == "message_received" and event.message_received.message.message_id not in self.ids:
                message = event.message_received.message
                self.ids.add(message.message_id)
                self.confirm.call("message", "ConfirmDelivery", message_ids=[message.message_id])
                self.bodies.append(message.body)


def check(holds, otherwise):
    if not holds:
        raise SystemExit(f"error: {otherwise}")


def main():
    arguments = argparse.ArgumentParser(description="Two users who write to each other.")
    arguments.add_argument("servers", nargs="+", metavar="HOST:PORT", help="where clients reach a replica")
    arguments.add_argument("--messages", type=int, default=20, help="how many messages to send (default: 20)")
    arguments.add_argument("--pause", type=float, default=0.0, help="seconds between two messages (default: 0)")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        story(generate(folder), arguments)


def story(api, arguments):
    tag, password = uuid.uuid4().hex[:8], uuid.uuid4().hex
    alice_name, bob_name = f"py-alice-{tag}", f"py-bob-{tag}"
    alice, bob, listener = (Chat(api, arguments.servers) for _ in range(3))
    for name in (alice_name, bob_name):
        alice.call("auth", "Register", username=name, password=password)
    alice.log_in(alice_name, password)
    bob.log_in(bob_name, password)
    listener.session = bob.session

    recipient = Recipient(listener, bob)
    recipient.start()
    check(recipient.live.wait(PATIENCE_SECONDS), "no replica streams events")
    wanted = [f"message {n}" for n in range(arguments.messages)]
    for body in wanted:
        sent = alice.call("message", "SendMessage", recipient=bob_name, body=body)
        print(f"sent {body}, stored on {sent.durability.durable_on} of {sent.durability.replicas}", flush=True)
        time.sleep(arguments.pause)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(recipient.bodies) < len(wanted) and time.monotonic() < deadline:
        time.sleep(0.02)
    check(recipient.bodies == wanted, f"received {recipient.bodies}")
    written = [message.body for message in alice.history(bob_name)]
    check(written == wanted, f"the history holds {written}")
    check(len(bob.call("message", "ListInbox").messages) == 0, "confirmed messages are in the inbox")
    print(f"all {len(wanted)} messages were received and are in the history, each once and in order")


if __name__ == "__main__":
    main()
