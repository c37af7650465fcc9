"""Runs schemathesis against a server of its own: random requests made from the served OpenAPI document.

Every answer must have a documented status and content type and the documented shape, and none may be a server error
(hooks.py says which are part of the protocol). The server must not have panicked.
"""

import argparse
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import quiver_server  # noqa: E402

CHECKS = [
    "no_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="default: $QUIVER_BINARY, else the newest build")
    parser.add_argument("--max-examples", type=int, default=100, help="generated requests per operation and phase")
    parser.add_argument("--phases", default="coverage,fuzzing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("rest", nargs="*", help="further arguments of schemathesis, after --")
    arguments = parser.parse_args()
    with quiver_server.Server(arguments.binary) as server:
        environment = os.environ | {
            "QUIVER_URL": server.url,
            "QUIVER_SEED": str(arguments.seed),
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(HERE),
        }
        subprocess.run([sys.executable, "-c", "import hooks; hooks.make_fixture()"], env=environment, check=True)
        command = [
            pathlib.Path(sys.executable).parent / "schemathesis",
            "run",
            f"{server.url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            f"--phases={arguments.phases}",
            f"--max-examples={arguments.max_examples}",
            f"--seed={arguments.seed}",
            "--generation-database=none",
            "--continue-on-failure",
            "--request-timeout=60",
            "--suppress-health-check=all",
            "--warnings=off",
            "--no-color",
            *arguments.rest,
        ]
        code = subprocess.run(command, env=environment, cwd=server.scratch).returncode
        if not server.is_alive():
            sys.exit(f"the server ended:\n{server.log_tail()}")
        panics = [line for line in server.log_path.read_text(errors="replace").splitlines() if "panicked" in line]
        if panics:
            sys.exit("the server panicked:\n" + "\n".join(panics))
        sys.exit(code)


if __name__ == "__main__":
    main()
