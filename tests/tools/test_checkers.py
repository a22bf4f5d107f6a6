"""The checkers are programs too: each is fed what it must pass and what it must refuse."""
import os
import shutil
import subprocess
import sys

import pytest

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")
OPENING = "/*\n * a.c - an example.\n */\n"


def tree(tmp_path, files):
    for path, text in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return tmp_path


def run(tool, root):
    done = subprocess.run([sys.executable, os.path.join(TOOLS, tool), str(root)], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    assert (done.returncode == 0) == (done.stdout == ""), "exit status and findings disagree"
    return done.stdout


def found(tool, tmp_path, files):
    return run(tool, tree(tmp_path, files)).strip()


# ---- check-layers ----

@pytest.mark.parametrize("path, include", [
    ("lib/http/a.c", "base/buf.h"),
    ("lib/http/a.c", "http/http.h"),
    ("lib/api/a.c", "resource/resource.h"),
    ("apps/core_events/a.c", "legacy/values.h"),
    ("apps/core_events/a.c", "core_events_queries.h"),
    ("apps/usher/a.c", "core_tickets/core_tickets.h"),
])
def test_layers_lets_pass(tmp_path, path, include):
    assert found("check-layers", tmp_path, {path: f'#include "{include}"\n#include <stdio.h>\n'}) == ""


@pytest.mark.parametrize("path, include, words", [
    ("lib/base/a.c", "runtime/log.h", "folder base may not include runtime (allowed: nothing but itself)"),
    ("lib/json/a.c", "http/http.h", "folder json may not include http (allowed: base)"),
    ("lib/json/a.c", "runtime/ctx.h", "folder json may not include runtime (allowed: base)"),
    ("lib/http/a.h", "core_events/event.h", "folder http may not include core_events"),
    ("apps/core_events/a.c", "core_tickets/core_tickets.h", "folder core_events may not include core_tickets"),
    ("apps/legacy/a.c", "messaging/messages.h", "folder legacy may not include messaging"),
    ("apps/usher/a.c", "core_tickets/ticket.h", "only by its front door core_tickets/core_tickets.h"),
    ("lib/http/a.c", "http.h", 'write #include "folder/file.h"'),
    ("lib/http/a.c", "core_events_queries.h", 'write #include "folder/file.h"'),
    ("lib/novel/a.c", "base/buf.h", "folder novel has no row"),
])
def test_layers_refuses(tmp_path, path, include, words):
    out = found("check-layers", tmp_path, {path: f'/* one\n * two */\n  #  include "{include}"\n'})
    assert words in out and out.startswith(f"{path}:{1 if 'no row' in words else 3}: ")


def test_layers_reads_no_comments(tmp_path):
    assert found("check-layers", tmp_path, {"lib/base/a.c": '/*\n#include "runtime/log.h"\n*/\n'}) == ""


# ---- check-co ----

HEADER = '#pragma once\n/** Waits. */\nCO_FN Err pause_ms(int ms) MUST_USE;\ntypedef CO_FN Err (*Work)(void *data);\nErr plain(int ms);\n'


@pytest.mark.parametrize("code", [
    "CO_FN Err f(void) {\n    return pause_ms(1);\n}\n",
    "static CO_FN Err f(void) {\n    TRY(pause_ms(1));\n    return ERR_OK;\n}\n",
    "Err f(void) {\n    return plain(1);\n}\n",
    "Err f(void) {\n    start(pause_ms);\n    return ERR_OK; /* pause_ms(1) */\n}\n",
    'Err f(void) {\n    return say("pause_ms(1)");\n}\n',
    "Err f(X *x) {\n    return x->pause_ms(1) || x.pause_ms(1);\n}\n",
    "Err f(void) {\n    return my_pause_ms(1);\n}\n",
    "static Err pause_ms(int a) {\n    return a;\n}\nErr f(void) {\n    return pause_ms(1);\n}\n",
    "static const Rows rows[] = {\n    {.name = \"a\", .run = pause_ms},\n};\nErr f(void) {\n    return ERR_OK;\n}\n",
])
def test_co_lets_pass(tmp_path, code):
    assert found("check-co", tmp_path, {"lib/x/x.h": HEADER, "lib/x/x.c": code}) == ""


@pytest.mark.parametrize("code, line, words", [
    ("Err f(void) {\n    return pause_ms(1);\n}\n", 2, "f calls pause_ms, which may suspend; mark f CO_FN"),
    ("static Err f(int a,\n             int b) {\n    if (a)\n        TRY(pause_ms (b));\n    return 0;\n}\n", 4, "f calls"),
    ("CO_FN static Err own(void) {\n    return 0;\n}\nErr f(void) {\n    return own();\n}\n", 5, "f calls own"),
    ("CO_FN static Err own(void);\nErr f(void) {\n    return own();\n}\n", 3, "f calls own"),
    ("struct S {\n    int a;\n};\n#define X(a) { a\nErr f(void) {\n    return pause_ms(1);\n}\n", 6, "f calls"),
    ("static const int t[] = {1, 2};\n\nErr f(void) {\n    return pause_ms(1);\n}\n", 4, "f calls"),
    ("Err pause_ms(int ms) {\n    return ms;\n}\n", 1, "the declaration of pause_ms says CO_FN"),
])
def test_co_refuses(tmp_path, code, line, words):
    out = found("check-co", tmp_path, {"lib/x/x.h": HEADER, "lib/x/x.c": code})
    assert words in out and out.startswith(f"lib/x/x.c:{line}: ") and "\n" not in out


def test_co_sees_inline_functions_of_headers(tmp_path):
    code = "static inline Err f(void) {\n    return pause_ms(1);\n}\n"
    assert "f calls pause_ms" in found("check-co", tmp_path, {"lib/x/x.h": HEADER + code})


def test_co_keeps_private_names_private(tmp_path):
    files = {"lib/x/a.c": "CO_FN static Err own(void) {\n    return 0;\n}\n", "lib/x/b.c": "static Err own(void) {\n    return 0;\n}\n"
             "Err f(void) {\n    return own();\n}\n"}
    assert found("check-co", tmp_path, files) == ""


# ---- check-style ----

def lines(n):
    return "".join(f"    x({i});\n" for i in range(n))


@pytest.mark.parametrize("files", [
    {"lib/x/a.c": OPENING + "int f(void) {\n    return 0;\n}\n"},
    {"lib/x/a.c": OPENING + "void f(void) {\n" + lines(58) + "}\n"},
    {"lib/x/a.c": OPENING + "// " + "x" * 117 + "\n"},
    {"lib/x/a.c": OPENING + "// " + "é" * 117 + "\n"},
    {"lib/x/a.c": OPENING + "/* strcpy(a, b) */\nconst char *s = \"malloc(1)\";\nint f(X *x) {\n    return x->free(1) + my_time(2);\n}\n"},
    {"lib/x/a.c": OPENING + "void f(void) {\n    free(p); /* allowed: realpath gave it */\n}\n"},
    {"lib/base/heap.c": OPENING + "void f(void) {\n    free(malloc(1));\n}\n"},
    {"tests/a.c": OPENING + "void f(void) {\n    free(malloc(1));\n" + lines(100) + "}\n"},
    {"lib/x/a.h": OPENING + "#pragma once\n#include <stdint.h>\nuint8_t f(void);\n"},
])
def test_style_lets_pass(tmp_path, files):
    assert found("check-style", tmp_path, files) == ""


@pytest.mark.parametrize("path, text, line, words", [
    ("lib/x/a.c", "int f(void);\n", 1, "no opening comment"),
    ("lib/x/a.c", OPENING + "x;\n" * 598, 601, "601 lines, over 600"),
    ("lib/x/a.c", OPENING + "\tint x;\n", 4, "a tab"),
    ("lib/x/a.c", OPENING + "/* " + "x" * 118 + "\n", 4, "121 columns, over 120"),
    ("tests/a.c", OPENING + "\tint x;\n", 4, "a tab"),
    ("lib/x/a.c", OPENING + "static int\nf(void) {\n" + lines(58) + "}\n", 4, "f has 61 lines, over 60"),
    ("lib/x/a.c", OPENING + "int a;\nvoid f(void) {\n    strcpy(a, b);\n}\n", 6, "strcpy is banned; use arena_str, buf_add_c"),
    ("lib/x/a.c", OPENING + "void f(void) {\n    long t = time (NULL);\n}\n", 5, "time is banned; use clock_now"),
    ("lib/base/str.c", OPENING + "void f(void) {\n    free(p);\n}\n", 5, "free is banned; use heap_free"),
    ("lib/x/a.h", OPENING + "int f(void);\n", 1, "no #pragma once"),
    ("lib/x/a.h", OPENING + "#pragma once\nuint8_t f(void);\n", 1, "does not compile alone"),
])
def test_style_refuses(tmp_path, path, text, line, words):
    out = found("check-style", tmp_path, {path: text})
    assert words in out and out.startswith(f"{path}:{line}: ") and "\n" not in out


LONG = OPENING + "void f(void) {\n" + lines(60) + "}\n"


@pytest.mark.parametrize("code, row, want", [
    (LONG, "lib/x/a.c f a table that reads top down", ""),
    (LONG, "# a remark\n\nlib/x/a.c f why", ""),
    (LONG, "lib/x/a.c f", "no reason"),
    (LONG, "lib/x/b.c f why", "f has 62 lines"),
    (OPENING, "lib/x/a.c f why", "needs no row any more"),
])
def test_style_allow_list(tmp_path, code, row, want):
    out = found("check-style", tmp_path, {"lib/x/a.c": code, "tools/style-allow": row + "\n"})
    assert want in out if want else out == ""


# ---- wrap-comments ----

WORDS = "word " * 30 + "end"


@pytest.mark.parametrize("text", [
    f"/*\n * {WORDS}\n * next line of the paragraph\n *\n * another\n */\n",
    f"/* {WORDS} */\n",
    f"/** {WORDS} */\nint f(void);\n",
    f"    /* {WORDS}\n     * more */\n",
    f"/**\n * @seats  {WORDS}\n * ERR_LIMIT: a list item stays where it is\n */\n",
    f"// {WORDS}\n",
])
def test_wrapping_keeps_the_words(tmp_path, text):
    path = tmp_path / "a.c"
    path.write_text(text)
    for _ in range(2):
        subprocess.run([sys.executable, os.path.join(TOOLS, "wrap-comments"), str(path)], check=True)
        wrapped = path.read_text()
        assert all(len(line) <= 120 for line in wrapped.split("\n"))
        plain = [w for w in wrapped.split() if w not in ("*", "//")]
        assert plain == [w for w in text.split() if w not in ("*", "//")]
        text = wrapped  # a second time changes nothing
    assert path.read_text() == wrapped


# ---- check-tidy ----

@pytest.mark.skipif(shutil.which("clang-tidy-14") is None, reason="no clang-tidy-14")
def test_tidy_finds_remembers_and_looks_again(tmp_path):
    root = tree(tmp_path, {".clang-tidy": "Checks: '-*,bugprone-suspicious-semicolon'\nWarningsAsErrors: '*'\n",
                           "lib/x/a.c": "int f(int a) {\n    if (a);\n    return 0;\n}\n"})

    def tidy():
        return subprocess.run([sys.executable, os.path.join(TOOLS, "check-tidy"), "--cache", root / "clean", "--", "-std=gnu17"],
                              cwd=root, capture_output=True, text=True)
    for _ in range(2):  # a finding is not remembered as clean
        done = tidy()
        assert done.returncode == 1 and "lib/x/a.c:2:" in done.stdout, done
    tree(root, {"lib/x/a.c": "int f(int a) {\n    return a;\n}\n"})
    assert tidy().returncode == 0 and len(list((root / "clean").iterdir())) == 1
    assert tidy().returncode == 0 and len(list((root / "clean").iterdir())) == 1
    tree(root, {"lib/x/a.c": "#error no\n"})
    assert tidy().returncode == 1
