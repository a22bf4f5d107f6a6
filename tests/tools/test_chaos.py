"""tests/chaos tells a broken usher from a broken harness."""
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def chaos(tmp_path, script):
    usher = tmp_path / "usher"
    usher.write_text("#!/bin/sh\n" + script)
    usher.chmod(0o755)
    done = subprocess.run(["tests/chaos/chaos.py", "--transport", "postgres", "--kills", "1", "--seed", "1"],
                          capture_output=True, text=True, cwd=ROOT, env={**os.environ, "USHER": str(usher), "USHER_START_LIMIT": "60"})
    return done.returncode, done.stdout + done.stderr


def test_an_usher_that_gives_up_is_a_violation(tmp_path):
    status, told = chaos(tmp_path, f'[ "$1" = serve ] && exit 3\nexec {ROOT}/build/usher "$@"\n')
    assert (status, "VIOLATED start: usher serve ended at once" in told) == (1, True), told


def test_what_the_harness_cannot_do_is_not(tmp_path):
    status, told = chaos(tmp_path, "exit 3\n")  # not even its tables can be made
    assert (status, "\nVIOLATED" in told, "\nHARNESS ERROR" in told) == (2, False, True), told
