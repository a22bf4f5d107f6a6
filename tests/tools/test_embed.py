"""The build's embedders: what they take, what they make of it, and what they refuse, with file and line."""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def embed(tool, source, out):
    return subprocess.run([ROOT / "tools" / tool, source, out], capture_output=True, text=True)


def sql(tmp_path, text):
    source = tmp_path / "core_shop" / "sql" / "queries.sql"
    source.parent.mkdir(parents=True)
    source.write_text(text)
    out = tmp_path / "core_shop_queries.c"
    done = embed("embed-sql", source, out)
    made = out.read_text() + out.with_suffix(".h").read_text() if done.returncode == 0 else ""
    return done, made


def test_queries_become_a_table_and_macros(tmp_path):
    done, made = sql(
        tmp_path,
        "-- what this file is\n\n-- name: items_of :many Item\n-- why so\nSELECT *\nFROM t -- here\nWHERE a = '-- \"no\" \\';\n"
        "-- name: sell :exec\nUPDATE t SET a = $1\n",
    )
    assert done.returncode == 0, done.stderr
    assert "const Query CORE_SHOP_QUERIES[] = {" in made
    assert '"SELECT *\\n"' in made and "\"WHERE a = '-- \\\"no\\\" \\\\'\"" in made
    assert "why so" not in made and "here" not in made
    assert "#define SQL_ITEMS_OF (&CORE_SHOP_QUERIES[0].statement)" in made
    assert "#define SQL_SELL (&CORE_SHOP_QUERIES[1].statement)" in made


@pytest.mark.parametrize(
    "text, writes",
    [
        ("SELECT 'update' AS \"delete\" -- insert", False),
        ("SELECT 1 FROM t FOR UPDATE", True),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", True),
        ("insert into t values (1)", True),
        ("SELECT updated FROM t", False),
        ("SELECT pg_notify('a', '')", True),
    ],
)
def test_writing_is_read_off_the_text(tmp_path, text, writes):
    done, made = sql(tmp_path, f"-- name: x :many\n{text}\n")
    assert done.returncode == 0, done.stderr
    assert ("      true}," if writes else "      false},") in made


@pytest.mark.parametrize(
    "text, says",
    [
        ("-- name: a :one\nSELECT 1\n-- name: a :one\nSELECT 2", ":3: query a is already at line 1"),
        ("-- name: a :one\n-- nothing\n-- name: b :one\nSELECT 2", ":1: query a has no SQL"),
        ("-- name: a :one\nSELECT 1; SELECT 2", ":1: query a is more than one statement"),
        ("-- name: A :one\nSELECT 1", ":1: want `-- name:"),
        ("-- name: a :few\nSELECT 1", ":1: want `-- name:"),
        ("SELECT 1\n-- name: a :one\nSELECT 1", ":1: SQL before the first"),
    ],
)
def test_mistakes_have_file_and_line(tmp_path, text, says):
    done, _ = sql(tmp_path, text)
    assert done.returncode == 1
    assert "queries.sql" + says in done.stderr


def migrations(tmp_path, names):
    folder = tmp_path / "core_shop" / "migrations"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f'text of "{name}" ü\n')
    out = tmp_path / "core_shop_migrations.c"
    done = embed("embed-migrations", folder, out)
    return done, out.read_text() if done.returncode == 0 else ""


def triple(stem):
    return [f"{stem}.up.sql", f"{stem}.down.sql", f"{stem}.snapshot.json"]


def test_migrations_are_embedded_in_order(tmp_path):
    done, made = migrations(tmp_path, triple("0002_more") + triple("0001_first") + ["README.md"])
    assert done.returncode == 0, done.stderr
    assert made.index('{1, "first"') < made.index('{2, "more"') < made.index("{0},")
    assert '"text of \\"0001_first.up.sql\\" \\303\\274\\n"' in made


def test_an_empty_folder_is_an_empty_table(tmp_path):
    done, made = migrations(tmp_path, [])
    assert done.returncode == 0 and "CORE_SHOP_MIGRATIONS[] = {\n    {0},\n}" in made


@pytest.mark.parametrize(
    "names, says",
    [
        (triple("0002_more"), "0001 is missing before it"),
        (triple("0001_first")[:2], "0001_first.snapshot.json:1: missing"),
        (triple("0001_first") + triple("0001_other"), "number 0001 is already taken by first"),
        (triple("0001_first") + ["notes.txt"], "notes.txt:1: not a migration file name"),
    ],
)
def test_a_folder_in_disorder_is_refused(tmp_path, names, says):
    done, _ = migrations(tmp_path, names)
    assert done.returncode == 1
    assert says in done.stderr
