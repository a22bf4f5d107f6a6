"""The documents judged by others: Redocly's linter for /openapi.json, ajv for every recorded body and message."""
import json
import pathlib
import re
import subprocess

import pytest
from conftest import BINARY, ROOT
from judges import NODE, install


@pytest.fixture(scope="session")
def node():
    install()
    return lambda script, *args, **kw: subprocess.run(["node", str(NODE / script), *map(str, args)], capture_output=True,
                                                      text=True, cwd=ROOT, **kw)


def usher(*args):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=ROOT)


def test_no_schema_file_is_stale():
    done = usher("schema", "--check")
    assert done.returncode == 0, done.stderr


def test_a_stale_file_is_told(tmp_path):
    usher("schema", "--out", str(tmp_path))
    (tmp_path / "Events.json").write_text("{}")
    (tmp_path / "Errors.json").unlink()
    (tmp_path / "Other.json").write_text("{}")
    done = usher("schema", "--out", str(tmp_path), "--check")
    assert done.returncode == 1
    assert "Events.json is stale" in done.stderr and "Errors.json is missing" in done.stderr and "Other.json" in done.stderr


def test_the_linter_has_nothing_to_say(node, tmp_path):
    document = tmp_path / "openapi.json"
    document.write_text(usher("schema", "--openapi").stdout)
    done = node("lint.mjs", document)
    assert done.returncode == 0, done.stdout


def test_asyncapis_own_parser_reads_the_document(node, tmp_path):
    document = tmp_path / "asyncapi.json"
    document.write_text(usher("asyncapi").stdout)
    done = node("asyncapi.mjs", document)
    assert done.returncode == 0, done.stdout + done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["version"] == "3.0.0" and len(read["send"]) == 3
    topology = json.loads((ROOT / "contracts" / "topology.json").read_text())
    queues = {q["name"] for q in topology["queues"] if not q["name"].endswith("_skipped")}
    exchanges = {e["name"] for e in topology["exchanges"] if not e["name"].endswith("_skipped")}
    assert set(read["channels"]) == exchanges and {o.removeprefix("receive.") for o in read["receive"]} == queues


def test_the_parser_refuses_a_document_with_a_mistake(node, tmp_path):
    document = json.loads(usher("asyncapi").stdout)
    next(iter(document["operations"].values()))["action"] = "shout"
    (tmp_path / "asyncapi.json").write_text(json.dumps(document))
    assert node("asyncapi.mjs", tmp_path / "asyncapi.json").returncode == 1


def test_recorded_envelopes_are_as_the_document_says():
    """Every member that was recorded is declared; ajv holds the messages inside against their schemas below."""
    document = json.loads(usher("asyncapi").stdout)
    for path in sorted((ROOT / "contracts" / "messages").glob("[01]?-*.json")):
        for message in json.loads(path.read_text())["messages"]:
            if message["body"] is None:
                continue
            envelope = json.loads(message["body"])
            name = envelope["messageType"][0].removeprefix("urn:message:")
            schema = document["components"]["messages"][name.replace(":", ".")]["payload"]
            assert set(schema["properties"]) == set(envelope)
            assert set(schema["properties"]["host"]["properties"]) == set(envelope["host"])


# --- recordings -------------------------------------------------------------------------------------------------------

def compat_routes():
    for route in json.loads(usher("routes", "--json").stdout):
        if route["surface"] == "compat":
            pattern = re.sub(r"\{[^}]*\}", "[^/]+", route["path"])
            yield route["method"], re.compile(f"^{pattern}/?$", re.I), f"{route['context']}.{route['action']}"


def decoded(text):
    assert text is not None
    return json.loads(text.removeprefix("\ufeff"))


def recorded_bodies():
    routes = list(compat_routes())
    for file in sorted((ROOT / "contracts" / "http").glob("*.json")):
        for n, exchange in enumerate(json.loads(file.read_text())["exchanges"]):
            request, response = exchange["request"], exchange["response"]
            if "path" not in request or "method" not in request or not response or not response.get("status"):
                continue
            path, where = request["path"].split("?")[0], f"{file.name}[{n}]"
            name = next((name for method, pattern, name in routes
                         if method == request["method"].upper() and pattern.match(path)), None)
            status, body = response["status"], response.get("body") or ""
            kind = next((v for k, v in response.get("headers", []) if k.lower() == "content-type"), "")
            if name is not None and status in (200, 201) and body:
                yield {"schema": f"{name}.answer", "body": decoded(body), "of": where}
            elif status >= 400 and body and kind.startswith("application/problem+json"):
                yield {"schema": "Problem", "body": decoded(body), "of": where}
            elif status >= 400 and body.startswith("{"):
                yield {"schema": "Refused", "body": decoded(body), "of": where}
            if name is not None and status in (201, 204) and request["method"].upper() in ("POST", "PUT") and request.get("body"):
                try:
                    yield {"schema": f"{name}.request", "body": decoded(request["body"]), "of": f"{where} request"}
                except ValueError:
                    continue  # recorded as bytes in another encoding


def recorded_messages():
    for file in sorted((ROOT / "contracts" / "messages").glob("[01]*.json")):
        for n, message in enumerate(json.loads(file.read_text())["messages"]):
            if message.get("body_encoding") != "utf-8" or not message.get("body"):
                continue
            body = decoded(message["body"])
            name = body["messageType"][0].removeprefix("urn:message:").replace(":", ".")
            yield {"schema": f"message.{name}", "body": body["message"], "of": f"{file.name}[{n}]"}


def test_every_recorded_body_and_message_fits(node):
    lines = [*recorded_bodies(), *recorded_messages()]
    assert sum(x["schema"].endswith(".request") for x in lines) > 100 and sum(x["schema"].startswith("message.") for x in lines) > 50
    done = node("validate.mjs", ROOT / "contracts" / "schemas", input="\n".join(json.dumps(x) for x in lines))
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("schema, body", [
    ("events.get.answer", {"EventName": 1}), ("EventsCreate", {"data": {"type": "users"}}), ("Errors", {"errors": []}),
    ("message.Integration.Users.Messaging.Messages.UserUpserted", {"id": "x"})])
def test_a_schema_can_refuse(node, schema, body):
    line = json.dumps({"schema": schema, "body": body, "of": schema, "fits": False})
    done = node("validate.mjs", ROOT / "contracts" / "schemas", input=line)
    assert done.returncode == 0, done.stdout
