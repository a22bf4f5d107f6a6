"""CONTRIBUTING.md is carried out: its diffs are applied to a copy of this tree, its commands run there, and what they print must be
what the page shows. So the page cannot rot, and neither can the promise that an attribute is a few lines.

In a section `## Example …` a ```diff block is applied and a ```console block is run: lines that begin with `$ ` are commands (run by
one bash, beside a throw-away Postgres), the lines below each are what it prints. `…` stands for anything within a line, and alone on
a line for any number of lines. The examples build on each other, as the page says, so they are one test.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
STATUS = "exit status of the last command: "


def examples(text):
    """[(title, [(kind, body)])] of the sections that are carried out."""
    found = []
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, rest = section.partition("\n")
        if title.startswith("Example "):
            found.append((title, re.findall(r"^```(diff|console)\n(.*?)^```$", rest, re.M | re.S)))
    return found


def commands(block):
    """[(command, expected output)] of a console block."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.M)
    assert parts[0] == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2]))


def shows(expected, got):
    """Is `got` what the page shows?"""
    pattern = ""
    for line in expected.splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += "[^\n]*?".join(re.escape(part) for part in line.split("…")) + "\n"
    return re.fullmatch(pattern, got) is not None


@pytest.mark.parametrize("expected, got, same", [
    ("", "", True),
    ("one\n", "one\n", True),
    ("one\n", "two\n", False),
    ("one\n", "one\ntwo\n", False),
    ("one\n…\n", "one\ntwo\nthree\n", True),
    ("…\nthree\n", "one\ntwo\nthree\n", True),
    ("…\nfour\n", "one\ntwo\nthree\n", False),
    ("1 passed in …s\n", "1 passed in 0.53s\n", True),
    ("1 passed in …s\n", "1 failed in 0.53s\n", False),
])
def test_the_comparison(expected, got, same):
    assert shows(expected, got) is same


@pytest.fixture
def copy(tmp_path):
    """The tree with what is not committed yet, and with what is already built: make then builds only what an example changes."""
    tree = tmp_path / "usher"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", "build-*", "var", "__pycache__"), symlinks=True)
    os.chmod(tmp_path, 0o755)  # Postgres runs as another user
    return tree


@pytest.fixture
def shell(copy):
    """One bash in the copy, beside its own Postgres. shell(command) gives what was printed, in order, and the exit status."""
    env = {**os.environ, "CCACHE_NOHASHDIR": "1", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("DATABASE_URL", None)
    bash = subprocess.Popen([str(copy / "tools/with-postgres"), "bash"], cwd=copy, env=env, text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(command):
        bash.stdin.write(f"{{ {command}\n}} </dev/null 2>&1; printf '\\n{STATUS}%d\\n' $?\n")
        bash.stdin.flush()
        lines = []
        while (line := bash.stdout.readline()) and not line.startswith(STATUS):
            lines.append(line)
        assert line, f"bash ended in {command}: {''.join(lines)}"
        text = "".join(lines)
        return text.removesuffix("\n"), int(line.removeprefix(STATUS))

    yield run
    bash.stdin.close()
    bash.wait(60)
    bash.stdout.close()


def apply_diff(tree, title, diff):
    done = subprocess.run(["patch", "-p1", "-F0", "--no-backup-if-mismatch"], cwd=tree, input=diff, text=True, capture_output=True)
    assert done.returncode == 0, f"{title}: the diff fits the tree no more; show it anew in CONTRIBUTING.md\n{done.stdout}{done.stderr}"


def test_the_examples_work_as_shown(copy, shell):
    found = examples(PAGE.read_text(encoding="utf-8"))
    assert len(found) >= 6 and all({kind for kind, _ in blocks} == {"diff", "console"} for _, blocks in found)
    built, status = shell("make -j2 all")
    assert status == 0, built
    for title, blocks in found:
        for kind, body in blocks:
            if kind == "diff":
                apply_diff(copy, title, body)
                continue
            for command, expected in commands(body):
                got, _ = shell(command)
                assert shows(expected, got), f"{title}: $ {command}\n--- the page shows\n{expected}\n--- it printed\n{got}"
