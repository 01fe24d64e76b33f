"""What this machine is and what it can run."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sdedge import dependencies
from sdedge.kernels import dispatch
from sdedge.resources import usable_cpus
from sdedge.version import __version__

_PACKAGES = ("torch", "torchvision", "triton", "numpy", "onnx", "onnxruntime", "safetensors")


@dataclass(frozen=True)
class Finding:
    """One line of `sdedge doctor`: a subject, its status, and what that means."""

    subject: str
    status: Literal["ok", "limited", "missing"]
    detail: str


def describe_environment(device: torch.device) -> dict[str, Any]:
    """The versions, commit and device of a run, so that its figures can be understood later."""
    return {
        "sdedge": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            name: version for name in _PACKAGES if (version := dependencies.installed(name))
        },
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
    }


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def diagnose(data_root: Path) -> list[Finding]:
    """Everything that decides what sdedge can do here."""
    return [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        Finding(
            "processor", "ok", f"{device_name(torch.device('cpu'))}, {usable_cpus()} usable threads"
        ),
        _gpu(),
        _triton(),
        *(_package(name) for name in _PACKAGES if name != "triton" or dependencies.installed(name)),
        _disk(data_root),
    ]


def _gpu() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("gpu", "ok", ", ".join(names))
    if torch.version.cuda is None:
        reason = "this torch is a CPU build; install one with CUDA to use a GPU"
    else:
        reason = f"torch has CUDA {torch.version.cuda} but finds no device or no driver"
    return Finding("gpu", "missing", f"{reason}. Searches run on the CPU (--preset quick).")


def _triton() -> Finding:
    version = dependencies.installed("triton")
    if version is None:
        return Finding(
            "fused kernels", "missing", "triton is not installed; on a GPU the torch reference runs"
        )
    if not torch.cuda.is_available():
        return Finding(
            "fused kernels",
            "limited",
            f"triton {version} needs a CUDA device; here the forms for the CPU run, and the "
            "tests run the kernels in triton's interpreter",
        )
    if gap := dispatch.toolchain_gap():
        return Finding("fused kernels", "limited", f"triton {version}, but {gap}")
    return Finding("fused kernels", "ok", f"triton {version}")


def _package(name: str) -> Finding:
    version = dependencies.installed(name)
    if version is None:
        return Finding(name, "missing", f"install it: pip install {name}")
    if deviation := dependencies.tested(name).deviation(version):
        return Finding(name, "limited", f"{version}, {deviation}")
    return Finding(name, "ok", version)


def _disk(folder: Path) -> Finding:
    existing = next(
        parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
    )
    free = shutil.disk_usage(existing).free / 1e9
    writable = os.access(existing, os.W_OK)
    detail = f"{free:.1f} GB free at {existing}"
    if not writable:
        return Finding("data folder", "missing", f"{existing} is read-only; change --data-root")
    if existing != folder.absolute():
        detail += f"; {folder} will be made"
    return Finding("data folder", "ok" if free > 2 else "limited", detail)


def _commit() -> str | None:
    """The commit of sdedge's own source, where it runs from a checkout."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists() or shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
