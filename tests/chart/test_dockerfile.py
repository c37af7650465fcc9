"""The image, as far as it can be checked without building it: the linter, what is copied, and what the chart expects."""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

import chart

ROOT = chart.REPOSITORY
#: What the image's libstdc++6 brings along: libgcc-s1 and libc6.
LIBRARIES = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def instructions(text):
    """(instruction, arguments) of each, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages(text):
    """The instructions of each stage, FROM included."""
    found = []
    for name, arguments in instructions(text):
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments))
    return found


def is_ignored(path, patterns):
    """As .dockerignore has it: the last pattern that matches the path or a folder above it decides."""
    parents = [str(parent) for parent in [pathlib.PurePath(path), *pathlib.PurePath(path).parents][:-1]]
    ignored = False
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(parent, pattern.removeprefix("!")) for parent in parents):
            ignored = not pattern.startswith("!")
    return ignored


DOCKERFILE = (ROOT / "Dockerfile").read_text()
BUILD, RUN = stages(DOCKERFILE)
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
COPIED = [
    source
    for name, arguments in BUILD
    if name == "COPY" and not arguments.startswith("--")
    for source in arguments.split()[:-1]
]


def repository_files():
    """What git knows, and what it will know once it is added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return [path for path in listed if (ROOT / path).is_file()]


def is_copied(path):
    return any(path == source or path.startswith(f"{source}/") for source in COPIED)


def only(stage, name):
    (found,) = [arguments for instruction, arguments in stage if instruction == name]
    return found


def hadolint(text):
    command = shutil.which("hadolint", path=pathlib.Path(sys.executable).parent)
    return subprocess.run([command, "-"], input=text, capture_output=True, text=True, check=False).stdout


def test_the_linter_finds_nothing():
    assert hadolint(DOCKERFILE) == ""
    # It can.
    assert "DL3008" in hadolint(DOCKERFILE.replace("# hadolint ignore=DL3008", ""))
    assert "unexpected" in hadolint("FROM debian\nCOPPY a b\n")


def test_what_is_copied_is_there_and_is_sent():
    files = repository_files()
    for source in COPIED:
        matching = [path for path in files if path == source or path.startswith(f"{source}/")]
        assert matching, f"COPY {source}: the repository has no such file"
        assert [path for path in matching if is_ignored(path, IGNORED)] == []


def test_nothing_else_is_sent():
    sent = [path for path in repository_files() if not is_ignored(path, IGNORED)]
    assert sent and [path for path in sent if not is_copied(path)] == []
    assert is_ignored("data/quiver.pid", IGNORED) and is_ignored(".git/config", IGNORED)
    assert not is_ignored("src/main.rs", IGNORED) and is_ignored("tests/clients/conftest.py", IGNORED)


def test_cargo_finds_every_target():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    folders = {"lib": "src", "bin": "src/bin", "test": "tests", "bench": "benches", "example": "examples"}
    targets = [("lib", manifest["lib"])]
    targets += [(kind, one) for kind in ("bin", "test", "bench", "example") for one in manifest.get(kind, [])]
    assert len(targets) > 5
    for kind, target in targets:
        path = target.get("path", f"{folders[kind]}/{target['name']}.rs")
        assert (ROOT / path).is_file() and is_copied(path), f"{kind} {target['name']}: {path} is not in the image"
    assert is_copied("build.rs") and is_copied("Cargo.lock")
    for folder in re.findall(r'rerun-if-changed=([\w/.]+)', (ROOT / "build.rs").read_text()):
        assert is_copied(folder), f"build.rs reads {folder}"


def test_what_the_source_includes_is_copied():
    complaints = []
    for path in (ROOT / "src").rglob("*.rs"):
        # Tests are not built into the image, and stand at the end.
        shipped = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
        if re.search(r"tests?(/|\.rs$|_)|_tests\.rs$|fuzzing", str(path.relative_to(ROOT))):
            continue
        for named in re.findall(r'include(?:_str|_bytes)?!\("([^"]+)"\)', shipped):
            target = os.path.relpath((path.parent / named).resolve(), ROOT)
            if not is_copied(target):
                complaints.append(f"{path.relative_to(ROOT)} includes {target}")
    assert complaints == []


def test_both_stages_are_of_one_debian():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    version, release = re.fullmatch(r"rust:([\d.]+)-(\w+) AS build", only(BUILD, "FROM")).groups()
    assert version == manifest["package"]["rust-version"]
    assert only(RUN, "FROM") == f"debian:{release}-slim"


def test_the_build_is_the_locked_release():
    (command,) = [arguments for name, arguments in BUILD if name == "RUN" and "cargo build" in arguments]
    assert "cargo build --locked --release --bin quiver" in command
    # What scripts/setup installs for a build here is installed there.
    setup = (ROOT / "scripts" / "setup").read_text()
    needed = set(re.findall(r"need (\S+) has_libclang", setup))
    assert needed and all(package in DOCKERFILE for package in needed)


def test_the_image_is_what_the_chart_expects():
    objects = chart.render(chart.KEY)
    spec = chart.one(objects, "StatefulSet")["spec"]["template"]["spec"]
    container, context = chart.container(objects), spec["securityContext"]
    assert only(RUN, "USER") == f"{context['runAsUser']}:{context['runAsGroup']}" == "65532:65532"
    assert f"--uid {context['runAsUser']} " in DOCKERFILE and f"--gid {context['runAsGroup']} " in DOCKERFILE
    binary = container["lifecycle"]["preStop"]["exec"]["command"][0]
    assert only(RUN, "ENTRYPOINT") == f'["{binary}"]'
    assert only(RUN, "COPY") == f"--from=build {binary} {binary}" and f"-o {binary} " in DOCKERFILE
    assert only(RUN, "CMD") == '["serve"]' and container["args"][0] == "serve"
    assert only(RUN, "EXPOSE").split() == [str(port["containerPort"]) for port in container["ports"]]
    assert only(RUN, "WORKDIR") in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert "ENV" not in [name for name, _ in RUN], "variables would win over the settings file"


def test_the_binary_needs_no_library_that_the_image_lacks():
    built = os.environ.get("QUIVER_BINARY")
    if not built or not shutil.which("readelf"):
        pytest.skip("needs QUIVER_BINARY and readelf")
    told = subprocess.check_output(["readelf", "--dynamic", "--wide", built], text=True)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", told))
    assert "libc.so.6" in needed and needed <= LIBRARIES
