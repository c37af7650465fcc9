"""Runs one container as a kubelet would, without an image: `python container.py SPEC`. Needs root.

The process gets namespaces of its own (mounts, processes, host name; the network's is given), is number 1 there, and sees a
root made of what the spec lists and nothing else. It runs as the user of its security context, without capabilities where
they are dropped. This program stays as its parent, writes its number to `spec["pid"]`, and ends as it ends.

Needs nothing but the standard library: it is started for every container.
"""

import ctypes
import json
import os
import pathlib
import signal
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
CAPABILITIES = 64
DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    if getattr(_libc, name)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


def _mount(source, target, kind=None, flags=0, options=None):
    encode = lambda text: None if text is None else os.fsencode(text)  # noqa: E731
    _call("mount", encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(options))


def _bind(source, target, read_only):
    """A file or folder at another place. The mount point is made where it is missing."""
    if pathlib.Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        _mount(None, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def _make_root(spec):
    root = pathlib.Path(spec["root"])
    _mount(None, "/", flags=MS_REC | MS_PRIVATE)
    _mount("root", root, "tmpfs", options="mode=755")
    for path, text in spec["files"].items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for path, to in spec["links"].items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(to)
    for mount in spec["mounts"]:
        _bind(mount["from"], root / mount["to"].lstrip("/"), mount["read_only"])
    for device in DEVICES:
        _bind(f"/dev/{device}", root / "dev" / device, False)
    (root / "proc").mkdir()
    _mount("proc", root / "proc", "proc")
    if spec["read_only_root"]:
        _mount(None, root, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chroot(root)
    os.chdir(spec["folder"])


def _become(spec):
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if spec["drops_capabilities"]:
        for capability in range(CAPABILITIES):
            # Those that this kernel does not have are refused.
            _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups(spec["groups"])
    os.setresgid(spec["group"], spec["group"], spec["group"])
    os.setresuid(spec["user"], spec["user"], spec["user"])
    if spec["no_new_privileges"]:
        _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Lost by the change of user.
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0o022)


def main(path):
    spec = json.loads(pathlib.Path(path).read_text())
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with open(spec["network"]) as network:
        _call("setns", network.fileno(), CLONE_NEWNET)
    _call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        try:
            name = spec["host_name"].encode()
            _call("sethostname", name, len(name))
            _make_root(spec)
            _become(spec)
            os.execve(spec["command"][0], spec["command"], spec["environment"])
        except OSError as error:
            print(f"container: {error}", file=sys.stderr, flush=True)
            os._exit(127)
    # Whole or not at all: its reader waits for it.
    part = pathlib.Path(spec["pid"] + ".part")
    part.write_text(str(child))
    part.rename(spec["pid"])
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    # As a shell has it.
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1])
