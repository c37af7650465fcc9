"""Stands in for the binary where the simulated Kubernetes itself is tested, and what the chart hands to a container.

It takes the arguments of `quiver serve` that the chart gives, and refuses others; it answers the probes; nodes found their
cluster and let each other in by the same rules; and it tells what it sees of its container. It keeps nothing but its number
and the cluster's name. Ends with 9 on a SIGTERM that no hand-over came before.
"""

import argparse
import http.client
import http.server
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time
import urllib.parse

import yaml

ASK_S = 0.1


def ask(uri, method, path, body=None, key=None):
    """The answer of another node; `None` if there is none."""
    to = urllib.parse.urlsplit(uri)
    connection = http.client.HTTPConnection(to.hostname, to.port, timeout=1)
    try:
        connection.request(method, path, json.dumps(body), {"api-key": key or ""})
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Node:
    def __init__(self, arguments, settings):
        self.arguments, self.settings = arguments, settings
        self.key = os.environ.get("QUIVER__SERVICE__API_KEY")
        self.folder = pathlib.Path(settings["storage"]["storage_path"])
        self.folder.mkdir(exist_ok=True)
        pathlib.Path(settings["storage"]["snapshots_path"]).mkdir(exist_ok=True)
        self.kept = self.folder / "node.json"
        self.has_handed_over = False
        self.lock = threading.Lock()
        if self.kept.exists():
            self.state = json.loads(self.kept.read_text())
        else:
            self.state = {"id": random.getrandbits(53), "cluster": None, "nodes": {}}
            self.keep()

    def keep(self):
        self.kept.write_text(json.dumps(self.state))

    def enter(self):
        """Founds the cluster, or asks until another node lets this one in."""
        own, others = self.arguments.uri, [uri for uri in self.arguments.bootstrap if uri != self.arguments.uri]
        is_first = self.arguments.bootstrap[0] == own
        while self.state["cluster"] is None:
            answers = [ask(uri, "GET", "/who", key=self.key) for uri in others]
            there = [uri for uri, answer in zip(others, answers, strict=True) if answer and answer["cluster"]]
            if there:
                welcome = ask(there[0], "POST", "/join", {"uri": own, "id": self.state["id"]}, self.key)
                if welcome:
                    self.take(welcome)
            elif is_first and all(answers):
                self.take({"cluster": f"{random.getrandbits(53):x}", "nodes": {own: self.state["id"]}})
            time.sleep(ASK_S)

    def take(self, told):
        with self.lock:
            self.state |= told
            self.keep()

    def join(self, newcomer):
        """A node with a known address takes the place of the one that was there."""
        nodes = self.state["nodes"] | {newcomer["uri"]: newcomer["id"]}
        self.take({"nodes": nodes})
        for uri in nodes:
            if uri not in (self.arguments.uri, newcomer["uri"]):
                ask(uri, "POST", "/nodes", nodes, self.key)
        return {"cluster": self.state["cluster"], "nodes": nodes}

    def facts(self):
        """What a container should see of itself."""
        status = dict(line.split(":\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())

        def can_write(folder):
            try:
                (pathlib.Path(folder) / "probe").write_text("")
                return True
            except OSError:
                return False

        return {
            "pid": os.getpid(),
            "user": os.getuid(),
            "group": os.getgid(),
            "groups": os.getgroups(),
            "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16) | int(status["CapPrm"], 16),
            "no_new_privileges": status["NoNewPrivs"],
            "host_name": os.uname().nodename,
            "writable": [path for path in ("/", "/etc/quiver", "/usr/local/bin", "/tmp", ".") if can_write(path)],
            "arguments": sys.argv[1:],
            "environment": dict(os.environ),
            "settings": self.settings,
        }


def handler(node, port):
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def handle_all(self):
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
            if (port, self.path) == ("http", "/livez"):
                return self.answer(200, "alive")
            if (port, self.path) == ("http", "/readyz"):
                return self.answer(200 if node.state["cluster"] else 503, "")
            if node.key and self.headers.get("api-key") != node.key:
                return self.answer(401, "no key")
            if (port, self.path) == ("http", "/handover"):
                node.has_handed_over = True
                return self.answer(200, "done")
            if (port, self.path) == ("peer", "/join"):
                return self.answer(200, node.join(body))
            if (port, self.path) == ("peer", "/nodes"):
                return self.answer(200, node.take({"nodes": body}))
            told = {"peer/who": node.state, "http/cluster": node.state, "http/facts": node.facts()}
            known = told.get(port + self.path)
            return self.answer(404 if known is None else 200, known)

        do_GET = do_POST = handle_all

    return Handler


def serve(arguments):
    settings = yaml.safe_load(pathlib.Path(arguments.config).read_text())
    node = Node(arguments, settings)
    ports = {"http": settings["service"]["http_port"], "peer": arguments.peer_port}
    for name, port in ports.items():
        server = http.server.ThreadingHTTPServer((settings["service"]["host"], port), handler(node, name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=node.enter, daemon=True).start()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    return 0 if node.has_handed_over else 9


def main():
    parser = argparse.ArgumentParser(prog="quiver", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    server = commands.add_parser("serve", allow_abbrev=False)
    server.add_argument("--config", required=True)
    server.add_argument("--cluster", action="store_true", required=True)
    server.add_argument("--peer-port", type=int, required=True)
    server.add_argument("--uri", required=True)
    server.add_argument("--bootstrap", type=lambda text: text.split(","), required=True)
    server.set_defaults(run=serve)
    cluster = commands.add_parser("cluster", allow_abbrev=False).add_subparsers(required=True)
    hand_over = cluster.add_parser("handover", allow_abbrev=False)
    hand_over.add_argument("--url", required=True)
    hand_over.add_argument("--timeout", type=int, required=True)
    key = os.environ.get("QUIVER__SERVICE__API_KEY")
    hand_over.set_defaults(run=lambda given: 0 if ask(given.url, "POST", "/handover", key=key) else 1)
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


if __name__ == "__main__":
    main()
