"""Run a bundle on emulated ARM boards: are the outputs those of this machine?

    sdedge bundle --out bundle.zip
    python benchmarks/emulated_board.py bundle.zip [--cpu cortex-a72]

An aarch64 Python from Debian's packages, with numpy and ONNX Runtime from PyPI's aarch64 wheels,
runs the bundle's own program under QEMU's user-mode emulation, once for each kind of core: with
and without the int8 dot product ONNX Runtime takes other kernels. Emulated time says nothing about
a board, so none is measured. apt-get, dpkg-deb and pip are used as this system sets them up;
nothing is installed, what they fetch stays in build/emulated-board. Exits with 1 where an output
is wrong.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[1] / "build" / "emulated-board"
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 29)]  # glibc since 2012 to 2018
BASE_FEATURES = "fp asimd evtstrm crc32 cpuid"


class MissingError(Exception):
    """Something that the emulated board is made of cannot be had here."""


@dataclass(frozen=True)
class Core:
    """What Linux says of a core in /proc/cpuinfo; ONNX Runtime reads it there."""

    board: str
    part: int
    features: str


CORES = {
    "cortex-a53": Core("Raspberry Pi Zero 2 W", 0xD03, BASE_FEATURES),
    "cortex-a72": Core("Raspberry Pi 4", 0xD08, BASE_FEATURES),
    "cortex-a76": Core(
        "Raspberry Pi 5",
        0xD0B,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
    ),
}


def command(*words: str | Path) -> str:
    """Standard output; MissingError with the last lines of a command that fails."""
    if shutil.which(words[0]) is None:
        raise MissingError(
            f"{words[0]} is not on this machine; it takes a Debian or Ubuntu with apt and pip"
        )
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise MissingError(f"{words[0]} ended with exit code {done.returncode}:\n{last}")
    return done.stdout


def unpacked(folder: Path, architecture: str, *packages: str) -> Path:
    """`folder` with the files of these Debian packages and of all that they depend on."""
    if folder.is_dir():
        return folder
    print(f"fetching Debian's {', '.join(packages)} for {architecture}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        status = work / "status"  # an empty system, so that every dependency is fetched
        status.touch()
        for part in ("state/lists/partial", "cache/archives/partial", "files"):
            (work / part).mkdir(parents=True)
        apt = [
            "apt-get",
            *("-o", f"Dir::State={work / 'state'}", "-o", f"Dir::State::status={status}"),
            *("-o", f"Dir::Cache={work / 'cache'}", "-o", f"Dir::Log={work}"),
            *("-o", f"APT::Architecture={architecture}", "-o", "APT::Sandbox::User="),
            *("-o", f"APT::Architectures={architecture}", "-qq", "--no-install-recommends"),
        ]
        command(*apt, "update")
        command(*apt, "install", "--yes", "--download-only", *packages)
        for package in sorted(work.glob("cache/archives/*.deb")):
            command("dpkg-deb", "--extract", package, work / "files")
        (work / "files").rename(folder)
    return folder


def emulator(cache: Path) -> Path:
    """QEMU for aarch64 programs: the system's, or one unpacked in the cache."""
    names = ("qemu-aarch64-static", "qemu-aarch64")
    if installed := next(filter(None, map(shutil.which, names)), None):
        return Path(installed)
    architecture = command("dpkg", "--print-architecture").strip()
    tools = unpacked(cache / "tools", architecture, "qemu-user-static")
    return next(path for name in names if (path := tools / "usr" / "bin" / name).exists())


def python(cache: Path) -> Path:
    """An aarch64 Python in a root of its own, its loader where the kernel looks for it."""
    root = unpacked(cache / "root", "arm64", "python3", "libstdc++6")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    return next((root / "usr" / "bin").glob("python3.*[0-9]"))


def wheels(folder: Path, version: str) -> Path:
    """`folder` with numpy and onnxruntime for an aarch64 Python of this version."""
    if not folder.is_dir():
        print(f"fetching numpy and onnxruntime for Python {version} on aarch64", flush=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            target = Path(name) / "site"
            tags = [f"--platform={platform}" for platform in PLATFORMS]
            command(
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"),
                *("--only-binary=:all:", "--implementation=cp", f"--python-version={version}"),
                *(*tags, f"--target={target}", "numpy", "onnxruntime"),
            )
            target.rename(folder)
    return folder


def ready(cache: Path = CACHE) -> bool:
    """Whether everything but QEMU was fetched before."""
    return (cache / "root").is_dir() and (cache / "wheels").is_dir()


def run(bundle: Path, cpu: str, cache: Path) -> int:
    """Run the bundle's program on one core; its exit code."""
    qemu, interpreter = emulator(cache), python(cache)
    site = wheels(cache / "wheels", interpreter.name.removeprefix("python"))
    root, core = interpreter.parents[2], CORES[cpu]
    # QEMU shows a program what lies below the root first, and else the host's own files: an
    # aarch64 ONNX Runtime does not survive the sight of an x86 processor.
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(
        "".join(
            f"processor\t: {number}\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {core.part:#x}\n"
            "CPU revision\t: 3\n\n"
            for number in range(os.cpu_count() or 1)
        )
        + f"Model\t\t: emulated {cpu}, as in the {core.board}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        try:
            zipfile.ZipFile(bundle).extractall(name)
        except (OSError, zipfile.BadZipFile) as error:
            raise MissingError(f"{bundle}: {error}; make it with `sdedge bundle`") from error
        (program,) = Path(name).glob("*/board.py")
        return subprocess.run(
            [qemu, "-cpu", cpu, "-L", root, interpreter, program, "--emulated", "--threads=1"],
            cwd=name,
            env={**os.environ, "PYTHONPATH": str(site)},
            check=False,
        ).returncode


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run every core, return the exit code."""
    parser = argparse.ArgumentParser(description="Run a bundle on emulated ARM boards.")
    parser.add_argument("bundle", type=Path, help="what `sdedge bundle` wrote")
    parser.add_argument("--cpu", choices=CORES, action="append", help="default: all of them")
    settings = parser.parse_args(arguments)
    try:
        codes = [run(settings.bundle, cpu, CACHE) for cpu in settings.cpu or CORES]
    except MissingError as missing:
        print(f"Error: {missing}", file=sys.stderr)
        return 1
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
