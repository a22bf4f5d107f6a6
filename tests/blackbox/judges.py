"""The judges of tests/node: programs from npm that are not ours."""
import fcntl
import pathlib
import subprocess

NODE = pathlib.Path(__file__).resolve().parents[1] / "node"


def install():
    """node_modules as the lock file says; again after the lock file has changed. Several test runs may ask at once."""
    lock = NODE / "package-lock.json"
    stamp = NODE / "node_modules" / ".usher-lock"
    with open(lock, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == held.read():
            return
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, check=True,
                       capture_output=True)
        stamp.write_bytes(lock.read_bytes())
