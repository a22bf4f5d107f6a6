"""The judges of tests/node: programs from npm that are not ours."""
import pathlib
import subprocess

NODE = pathlib.Path(__file__).resolve().parents[1] / "node"


def install():
    """node_modules as the lock file says; again after the lock file has changed."""
    lock = NODE / "package-lock.json"
    stamp = NODE / "node_modules" / ".usher-lock"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, check=True,
                       capture_output=True)
        stamp.write_bytes(lock.read_bytes())
