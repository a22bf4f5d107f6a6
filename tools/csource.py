"""csource.py - as much of C as the checkers need: text without comments and strings, and where functions begin and end.

Textual on purpose. A real parser (libclang) would see through macros, and would need the build's flags, minutes instead of
milliseconds, and a package. The house style (braces attached, one declaration a statement) makes text enough.
"""
import os
import re
import subprocess
from collections import namedtuple

# header: the text from the end of the statement before to the opening brace. body: between the braces, blanked text.
Function = namedtuple("Function", "name header body line body_line lines")
Declaration = namedtuple("Declaration", "name text line")

_TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.M)


def files(root, folders, suffixes):
    """Paths below root/folders that git knows or would know, sorted; all files where root is no repository."""
    found = []
    for folder in folders:
        for where, dirs, names in os.walk(os.path.join(root, folder)):
            dirs[:] = [d for d in dirs if not d.startswith((".", "build"))]
            found += [os.path.relpath(os.path.join(where, n), root) for n in names if n.endswith(suffixes)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def _blank(match):
    text = match.group()
    keep = text[0] if text[0] in "\"'" else " "
    return re.sub(r"[^\n]", " ", text) if keep == " " else keep + re.sub(r"[^\n]", " ", text[1:-1]) + keep


def blanked(text):
    """The text with comments and the insides of strings turned to spaces; lines and columns stay."""
    return _TOKEN.sub(_blank, text)


def without_directives(text):
    return _DIRECTIVE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


_NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")
_NOT_NAMES = {"__attribute__", "__extension__", "if", "while", "for", "switch", "sizeof", "_Static_assert", "Slice",
              "PRINTF_LIKE", "CLEANUP", "__asm__"}


def function_name(header):
    """The declared function's name, or None for variables, types and function pointers."""
    if "typedef" in header or re.search(r"\(\s*\*", header.split(")")[0]):
        return None
    for m in _NAME.finditer(header):
        if m.group(1) not in _NOT_NAMES:
            return m.group(1)
    return None


def parse(text):
    """(functions, declarations) of a file's top level."""
    code = without_directives(blanked(text))
    functions, declarations = [], []
    depth, start, opened = 0, 0, 0
    for m in re.finditer(r"[{};]", code):
        c, at = m.group(), m.start()
        if c == "{":
            if depth == 0:
                opened = at
            depth += 1
        elif c == "}":
            depth = max(0, depth - 1)
            if depth > 0:
                continue
            header = code[start:opened]
            if "=" not in header.split("(")[0] and re.search(r"\)[\sA-Z_]*$", header):
                first = start + len(header) - len(header.lstrip())
                name = function_name(header)
                if name:
                    line, last = code.count("\n", 0, first) + 1, code.count("\n", 0, at) + 1
                    functions.append(Function(name, header, code[opened + 1:at], line, code.count("\n", 0, opened) + 1,
                                              last - line + 1))
                start = at + 1
            elif not re.match(r"\s*[;,\w\[=]", code[at + 1:at + 40] or ";"):
                start = at + 1
            elif re.search(r"\b(struct|enum|union|extern)\b", header) and "=" not in header:
                start = at + 1
        elif depth == 0:
            header = code[start:at]
            first = start + len(header) - len(header.lstrip())
            name = function_name(header) if "=" not in header else None
            if name:
                declarations.append(Declaration(name, header, code.count("\n", 0, first) + 1))
            start = at + 1
    return functions, declarations


def report(problems):
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def compiler():
    """The compiler that header checks use, from the environment as make sets it."""
    return os.environ.get("CC", "gcc").split()


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
