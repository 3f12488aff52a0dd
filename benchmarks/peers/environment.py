"""Virtual environments for peers: each has old versions of much that m6rec has new ones of, so none is shared."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
STAMP = ".installed"


def pinned(environment: str, package: str) -> str:
    """The version of `package` in requirements/<environment>.txt."""
    text = (REQUIREMENTS / f"{environment}.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"requirements/{environment}.txt pins no {package}; write {package}==VERSION there")
    return found.group(1)


def ready(environment: str, root: Path) -> Path:
    """The interpreter of the environment under `root`, made and filled first where it is missing or its requirements changed.

    A file's lines are installed in groups, separated by empty lines, one `pip install` each: what must not be moved by the next comes first.
    """
    folder = root / environment
    text = (REQUIREMENTS / f"{environment}.txt").read_text(encoding="utf-8")
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == text:
        return python
    print(f"making the environment {folder} (once)", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    for group in text.split("\n\n"):
        wanted = [line for line in group.splitlines() if line and not line.startswith("#")]
        if wanted:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    stamp.write_text(text, encoding="utf-8")
    return python


def machine(threads: int) -> dict[str, object]:
    """What a time is worth nothing without: the processor, how many cores were there, how many threads were used."""
    cpu, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text(encoding="utf-8")
        cpu = (re.findall(r"^model name\s*: (.+)$", text, re.MULTILINE) or [cpu])[0]
        flags = (re.findall(r"^flags\s*: (.+)$", text, re.MULTILINE) or [""])[0]
        cores = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    else:
        cores = 0
    vectors = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags.split()]
    return {"cpu": cpu, "cores": cores, "threads": threads, "vectors": vectors}
