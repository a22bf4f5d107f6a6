"""tests/unit/json/rfc8259.txt, held against two readers that are not ours: Python's json in strict mode, and Node's JSON.parse.

Where they differ from each other or from us the file says so, line by line, with the reason.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "tests/unit/json/rfc8259.txt"
NODE = """
const decoder = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
for (const line of require('fs').readFileSync(0, 'latin1').trim().split('\\n')) {
    let taken = '+';
    try { JSON.parse(decoder.decode(Buffer.from(line.slice(1), 'hex'))); } catch { taken = '-'; }
    console.log(taken);
}
"""


def unfold(text):
    out = b""
    while text:
        at = text.find("<")
        if at < 0:
            return out + text.encode()
        out, text = out + text[:at].encode(), text[at + 1:]
        if byte := re.match(r"([0-9a-f]{2})>", text):
            out, text = out + bytes.fromhex(byte[1]), text[3:]
            continue
        number, _, rest = text.partition("*")
        end = depth = 0
        while depth or rest[end] != ">":
            depth += {"<": 1, ">": -1}.get(rest[end], 0)
            end += 1
        out, text = out + int(number) * unfold(rest[:end]), rest[end + 1:]
    return out


def cases():
    for number, line in enumerate(FILE.read_text().split("\n"), 1):
        if line and not line.startswith("#"):
            verdict, name, text, *reason = line.split(" | ")
            yield number, verdict, name, unfold(text.strip(" ")), reason


CASES = list(cases())


def refuse(word):
    raise ValueError(word)


def python_takes(data):
    try:
        json.loads(data.decode("utf-8"), parse_constant=refuse, parse_int=str, parse_float=str)
        return "+"
    except RecursionError:
        return "-"
    except ValueError:
        return "-"


def differing(column, taken):
    wrong = []
    for (number, verdict, name, _, _), got in zip(CASES, taken):
        want = {"y": "+", "n": "-"}.get(verdict[0]) or verdict[column]
        if got != want:
            wrong.append(f"{FILE.name}:{number}: {name}: want {want}, got {got}")
    return wrong


def test_the_file_is_well_formed():
    assert len(CASES) >= 180
    assert all(re.fullmatch(r"[yn]|i[+-]{3}", verdict) for _, verdict, _, _, _ in CASES)
    assert all(bool(reason) == (verdict[0] == "i") for _, verdict, _, _, reason in CASES)
    inputs = [data for _, _, _, data, _ in CASES]
    assert len(set(inputs)) == len(inputs), "a case is there twice"


def test_python_agrees():
    sys.setrecursionlimit(3000)
    assert differing(2, [python_takes(data) for _, _, _, data, _ in CASES]) == []


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_node_agrees():
    lines = "\n".join("x" + data.hex() for _, _, _, data, _ in CASES)
    done = subprocess.run(["node", "-e", NODE], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert differing(3, done.stdout.split()) == []
