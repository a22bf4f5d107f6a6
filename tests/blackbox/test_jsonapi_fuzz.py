"""Requests made from /openapi.json by a seeded generator, valid and broken: none may be answered with 500, or with anything the
document does not say (two recorded 500s of the old routes aside). FUZZ_REQUESTS and FUZZ_SEED make it longer and other; a failure prints the request."""
import base64
import decimal
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import urllib.parse
import uuid

import pytest

from conftest import BINARY, ROOT, wait_for
from test_schemas import node  # noqa: F401  (a fixture)

MEDIA = "application/vnd.api+json"
ODD = ["", " ", "x", "-1", "0", "99999999999999999999", "1e400", "null", "true", "%", "%00", "\u0000", "\ud83c\udfab", "'; DROP TABLE x; --",
       "../..", "[]", "{}", "a" * 5000, "\u202e", "2095-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999+14:00", "0001-01-01T00:00:00Z",
       "NaN", "-0", "0.00000000000000000000000000001", "79228162514264337593543950335"]


class Generator:
    def __init__(self, document, seed):
        self.document, self.random = document, random.Random(seed)
        self.ids = {"tickets": [], "events": [], "users": [], "eventVenues": [str(n) for n in range(11)]}

    def resolve(self, schema):
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def odd(self):
        r = self.random
        return r.choice([r.choice(ODD), r.randint(-2**70, 2**70), r.random() * 10**r.randint(-20, 300), None, True, [], {}, [[]],
                         {"a": {"b": None}}])

    def value(self, schema, broken):
        r, schema = self.random, self.resolve(schema)
        if r.random() < broken:
            return self.odd()
        if "anyOf" in schema:
            return self.value(r.choice(schema["anyOf"]), broken)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return r.choice(schema["enum"])
        kind = schema.get("type", "string")
        kind = r.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            given = {}
            for name, inner in schema.get("properties", {}).items():
                if name in schema.get("required", []) or r.random() < 0.8:
                    given[name] = self.value(inner, broken)
            if r.random() < broken:
                given[r.choice(ODD)] = self.odd()
            return given
        if kind == "array":
            return [self.value(schema["items"], broken) for _ in range(r.choice([0, 1, 1, 2, 5]))]
        if kind in ("integer", "number"):
            return r.choice([0, 1, -1, 5, 25.5, 10**6])
        if kind == "boolean":
            return r.random() < 0.5
        if kind == "null":
            return None
        return self.text(schema)

    def text(self, schema):
        r = self.random
        if schema.get("format") == "uuid":
            return r.choice(self.ids["tickets"] + self.ids["events"] + self.ids["users"] + [str(uuid.UUID(int=r.getrandbits(128)))])
        if schema.get("format") == "date-time":
            return f"20{r.randint(27, 99)}-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}T{r.randint(0, 23):02d}:00:00Z"
        if "pattern" in schema:
            return f"{r.randint(0, 999)}.{r.randint(0, 99):02d}"
        return r.choice(["Gig", "Ann", "Bob", "Show 1"] * 8 + ["a@b.cd", f"u{r.randint(0, 10**6)}@b.cd", "Bob B"] + ODD)

    def parameter(self, parameter, broken):
        r, name = self.random, parameter["name"]
        if r.random() < broken:
            return str(r.choice(ODD))
        if name == "include":
            return r.choice(["", "tickets", "tickets.event", "event,user", "eventVenue", "events", "tickets.event.tickets"])
        if name.startswith("fields["):
            return r.choice(["", "eventName", "price,tickets", "code", "email", "nothing"])
        if name == "sort":
            return r.choice(["id", "-price", "startDate,-id", "eventName", "seatNumber", "-purchasedAt", "email", "code", "capacity,-title"])
        if name == "page[size]":
            return str(r.choice([1, 2, 10, 500, 501]))
        if name.startswith("filter["):
            return self.text({})
        return r.choice(ODD)

    def path_value(self, path, broken):
        kind = path.split("/")[2] if path.startswith("/api/") else path.split("/")[1]
        if self.random.random() < broken or not self.ids.get(kind):
            return self.random.choice([str(uuid.UUID(int=self.random.getrandbits(128))), "x", "%00", "a b", "\u00e9", "-"])
        return self.random.choice(self.ids[kind])

    def request(self):
        """One request: method, target, headers, body, its operation."""
        r, broken = self.random, self.random.choice([0, 0, 0.05, 0.3])
        path = r.choice(list(self.document["paths"]))
        method = r.choice(list(self.document["paths"][path]))
        operation = self.document["paths"][path][method]
        target, query, headers = path, [], {}
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                value = urllib.parse.quote(self.path_value(path, broken), safe="%")
                target = target.replace("{" + parameter["name"] + "}", value, 1)
            elif parameter["in"] == "query" and r.random() < 0.15:
                query.append((parameter["name"], self.parameter(parameter, broken)))
            elif parameter["in"] == "header" and r.random() < 0.3:
                headers[parameter["name"]] = r.choice(["*", '"x"', "k", f"key-{r.randint(0, 50)}", 'W/"y"', '""'])
        if query:
            target += "?" + urllib.parse.urlencode(query, errors="replace")
        body = None
        if "requestBody" in operation:
            media, content = next(iter(operation["requestBody"]["content"].items()))
            body = json.dumps(self.value(content["schema"], broken))
            headers["Content-Type"] = r.choice([media] * 20 + ["text/plain", ""])
            if r.random() < broken / 3:
                body = r.choice(["", "{", body[:-1], body + "x", "[" * 2000, '"\\ud800"'])
        return method.upper(), target, headers, body, operation


def is_recorded_500(target, body):
    """The old system's own 500s, which are recorded and kept by quirks of these names until they are switched off."""
    if target.startswith("/api"):
        return False
    try:
        given = {name.lower(): value for name, value in json.loads(body).items()}
        missing = given.get("eventname" if target.lower().startswith("/events") else "fullname") is None  # missing-name-500
        return missing or abs(decimal.Decimal(str(given.get("price", 0)))) >= decimal.Decimal("9999999999999999.995")  # price-overflow-500
    except (TypeError, ValueError, AttributeError, decimal.InvalidOperation):
        return False


def judge(answer, operation, target, body):
    """What is wrong with this answer, or None; and the line for the validator."""
    status = str(answer.status)
    if answer.status == 500 and is_recorded_500(target, body):
        return None, {"schema": "Refused", "body": json.loads(answer.body)}
    if answer.status in (400, 405, 408, 414, 431) and not answer.body and answer.headers.get("connection") == "close":
        return None, None  # refused as HTTP, before any surface saw it
    if answer.status >= 500:
        return f"answered {status}", None
    if status not in operation["responses"]:
        return f"{status} is not in the document", None
    content = operation["responses"][status].get("content")
    if not answer.body:
        return (None, None) if not content or "application/vnd.api+json" not in content else (f"{status} without its body", None)
    kind = answer.headers.get("content-type", "").split(";")[0]
    if content is None:
        return f"{status} with a body", None
    shown = json.loads(answer.body)
    if kind in content:
        return None, {"schema": content[kind]["schema"]["$ref"].rsplit("/", 1)[1], "body": shown}
    if kind in ("", "application/problem+json") and answer.status >= 400:  # the compat surface's three forms share statuses
        return None, {"schema": "Problem" if kind else "Refused", "body": shown}
    return f"{status} as {kind!r}", None


def test_no_answer_lies_outside_the_document(server, node):  # noqa: F811
    document = json.loads(server.get("/openapi.json").body)
    seed, count = int(os.environ.get("FUZZ_SEED", "1")), int(os.environ.get("FUZZ_REQUESTS", "2500"))
    generator = Generator(document, seed)
    for n in range(3):
        generator.ids["events"].append(server.new_event(name=f"Gig {n}", day=n + 2))
        generator.ids["users"].append(server.new_user(email=f"u{n}@example.com"))
    generator.ids["tickets"] = [t["Id"] for e in generator.ids["events"] for t in server.tickets(e)]
    wrong, lines, seen = [], [], set()
    for n in range(count):
        method, target, headers, body, operation = generator.request()
        answer = server.request(method, target, body, headers=headers)
        request = f"#{n} {method} {target[:300]} {headers} {(body or '')[:500]}"
        problem, line = judge(answer, operation, target, body)
        seen.add(answer.status)
        if problem:
            wrong.append(f"{problem}: {request}\n    {answer.body[:300]}")
        if line:
            lines.append({**line, "of": request})
    assert not wrong, f"seed {seed}: {len(wrong)} of {count}\n" + "\n".join(wrong[:10])
    assert {200, 201, 204, 400, 404, 422} <= seen, seen
    done = node("validate.mjs", ROOT / "contracts" / "schemas", input="\n".join(json.dumps(x) for x in lines))
    assert done.returncode == 0, done.stdout[-4000:]


def test_documents_are_served(server):
    openapi = server.get("/openapi.json")
    assert openapi.status == 200 and openapi.headers["content-type"] == "application/json"
    assert openapi.json() == json.loads(subprocess.run([BINARY, "schema", "--openapi"], capture_output=True, text=True).stdout)
    page = server.get("/docs")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "src=" not in page.body and "http" not in page.body
    for tag in ("style", "script"):
        digest = hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", page.body, re.S)[1].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy, "the hash in lib/api/docs_page.h is of another text"
    refused = server.request("POST", "/docs", "x")
    assert refused.status == 405 and refused.headers["content-type"].startswith("application/problem+json")
    assert refused.headers["allow"] == "GET" and refused.json()["title"] == "Method Not Allowed"
    assert server.get("/docs/nothing").status == 404


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_a_browser_shows_the_document(server, tmp_path):
    """The script runs under the page's own policy and lists every operation of /openapi.json."""
    done = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}",
                           "--virtual-time-budget=20000", "--dump-dom", server.base + "/docs"], capture_output=True, text=True, timeout=300)
    document = server.get("/openapi.json").json()
    shown = set(re.findall(r'<b class="method">([A-Z]+)</b><code>([^<]+)</code>', done.stdout))
    assert shown == {(method.upper(), path) for path, item in document["paths"].items() for method in item}, done.stderr[-2000:]
    assert f'<h1 id="title">{document["info"]["title"]} {document["info"]["version"]}</h1>' in done.stdout
