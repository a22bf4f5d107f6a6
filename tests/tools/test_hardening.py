"""check-hardening: the release binary passes, and each flag that is dropped is missed."""
import functools
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECK = ROOT / "tools" / "check-hardening"
BINARY = pathlib.Path(os.environ.get("USHER", ROOT / "build" / "usher"))
PROGRAM = """#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    char text[64];
    memcpy(text, argv[0], (size_t)argc);
    return puts(text);
}
"""


@functools.cache
def make_variable(name):
    """As the Makefile has it for a release, so that a flag that is lost there is lost here."""
    done = subprocess.run(["make", "-s", "-C", str(ROOT), "--eval", f"print-it: ; @echo '$({name})'", "print-it", "VARIANT=release"],
                          capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def check(program):
    done = subprocess.run([sys.executable, str(CHECK), str(program)], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout


def build(tmp_path, cflags, ldflags):
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib" / "a.c").write_text(PROGRAM)
    subprocess.run(["gcc", *cflags, *ldflags, "-o", "a", "lib/a.c"], cwd=tmp_path, check=True)
    return check(tmp_path / "a")


@pytest.mark.skipif(BINARY.parent.name != "build", reason="only the release build is hardened")
def test_the_release_binary_is_hardened():
    assert check(BINARY) == ""


def test_the_flags_of_the_makefile_pass(tmp_path):
    assert build(tmp_path, make_variable("CFLAGS"), make_variable("LDFLAGS")) == ""


# How to add one: the flag, what replaces it (the compiler's default may be the flag itself), and a word of the finding.
@pytest.mark.parametrize("flag, instead, words", [
    ("-pie", "-no-pie", "addresses are fixed"),
    ("-z,relro", "-z,norelro", "tables stay writable"),
    ("-z,now", "-z,lazy", "bound when first called"),
    ("-z,noexecstack", "-z,execstack", "stack can be executed"),
    ("-z,separate-code", "-z,noseparate-code", "constants are executable"),
    ("-fPIE", "-fpie", "without -fPIE"),
    ("-fstack-protector-strong", "-fno-stack-protector", "guards its stack"),
    ("-fstack-protector-strong", "-fstack-protector-all", "without -fstack-protector-strong"),
    ("-fstack-clash-protection", "-fno-stack-clash-protection", "without -fstack-clash-protection"),
    ("-fcf-protection=branch", "-fcf-protection=none", "without -fcf-protection"),
    ("-D_FORTIFY_SOURCE=3", "-U_FORTIFY_SOURCE", "checks its bounds"),
    ("-O2", "-O1", "without -O2"),
    ("-g", "-g0", "does not tell how it was compiled"),
])
def test_a_dropped_flag_is_missed(tmp_path, flag, instead, words):
    cflags, ldflags = " ".join(make_variable("CFLAGS")), " ".join(make_variable("LDFLAGS"))
    pattern = re.compile(rf"(?<![\w-]){re.escape(flag)}(?![\w-])")
    assert pattern.search(cflags + " " + ldflags), "the Makefile has it no longer"
    cflags, ldflags = (pattern.sub(instead, text).split() for text in (cflags, ldflags))
    assert words in build(tmp_path, cflags, ldflags)


def test_no_program_is_no_pass(tmp_path):
    (tmp_path / "text").write_text("not a program")
    done = subprocess.run([sys.executable, str(CHECK), str(tmp_path / "text")], capture_output=True, text=True)
    assert done.returncode != 0
