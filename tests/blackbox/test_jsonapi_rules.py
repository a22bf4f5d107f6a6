"""The rules of the specification that test_jsonapi.py does not show by the way, and the list of all of them: every row of
docs/json-api.tsv names tests that exist or a reason, and docs/json-api.md is made from it."""
import re
import subprocess

import pytest
from conftest import ROOT, wait_for
from test_jsonapi import GOOD, api, errors, everything  # noqa: F401  (api is a fixture)

TABLE = ROOT / "docs" / "json-api.tsv"


def rows():
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            anchor, keyword, statement, how = line.split(" | ")
            yield anchor, keyword, statement, how


def test_every_statement_has_a_test_or_a_reason():
    found = list(rows())
    assert sum(r[1] == "MUST" for r in found) == 147 and sum(r[1] == "MUST NOT" for r in found) == 17
    tests = set()
    for file in (ROOT / "tests" / "blackbox").glob("test_jsonapi*.py"):
        tests |= set(re.findall(r"^def (test_\w+)", file.read_text(), re.M))
    for anchor, _, statement, how in found:
        if not how.startswith("- "):
            assert set(how.split()) <= tests, f"{anchor}: {statement}: no test named {set(how.split()) - tests}"


def test_the_document_is_made_from_the_table():
    done = subprocess.run([ROOT / "tools" / "gen-json-api-doc", "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# --- documents --------------------------------------------------------------------------------------------------------

def test_members_that_mean_nothing_are_ignored(api):  # noqa: F811
    document = {"@context": 1, "jsonapi": {"version": "1.1", "ext": ["x:y"], "profile": ["z:z"], "@x": 1}, "meta": {"a": 1},
                "nothing": [], "included": [], "data": {"type": "events", "lid": "a", "links": {}, "meta": {}, "more": 5, "@y": 1,
                                                        "attributes": {**GOOD, "@z": []}, "relationships": {"@r": 1}}}
    api("POST", "/api/events", document, status=201)


def test_names_are_member_names(api):  # noqa: F811
    event = api("POST", "/api/events", {"data": {"type": "events", "attributes": GOOD}}, status=201).json()["data"]["id"]
    wait_for(lambda: api.get(f"/api/events/{event}/tickets")["data"])
    api("POST", "/api/users", {"data": {"type": "users", "attributes": {"fullName": "Ann", "email": "a@b.cd", "userType": "Customer"}}})
    documents = [api.get(p) for p in ("/api/events?include=tickets.event,eventVenue", "/api/users", "/api/eventVenues")]
    for resource in [r for d in documents for r in everything(d)]:
        fields = [*resource["attributes"], *resource.get("relationships", {})]
        assert len(fields) == len(set(fields)) and not {"type", "id"} & set(fields)
        assert all(re.fullmatch("[A-Za-z0-9]+", n) for n in [resource["type"], *fields])


def test_names_are_case_sensitive(api):  # noqa: F811
    attributes = {("EVENTNAME" if k == "eventName" else k): v for k, v in GOOD.items()}
    answer = api("POST", "/api/events", {"data": {"type": "events", "attributes": attributes}}, status=422)
    assert sorted(e[1] for e in errors(answer)) == ["missing", "unknown-field"]
    api("GET", "/api/events?sort=EventName", status=400)
    api("GET", "/api/events?Include=tickets", status=400)


# --- links ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def filled(api):  # noqa: F811
    """An event with its tickets, one of them sold to a user."""
    event = api("POST", "/api/events", {"data": {"type": "events", "attributes": GOOD}}, status=201).json()["data"]["id"]
    user = api("POST", "/api/users", {"data": {"type": "users", "attributes": {
        "fullName": "Ann", "email": "a@b.cd", "userType": "Customer"}}}, status=201).json()["data"]["id"]
    tickets = wait_for(lambda: api.get(f"/api/events/{event}/tickets?sort=seatNumber")["data"])
    api("POST", "/api/tickets/actions/purchase", {"meta": {"eventId": event, "userId": user, "ticketIds": [tickets[0]["id"]]}},
        status=204)
    wait_for(lambda: api.get(f"/api/tickets/{tickets[0]['id']}/user")["data"])
    api.event_id, api.tickets = event, [t["id"] for t in tickets]
    return api


def links(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "links":
                yield from inner.values()
            else:
                yield from links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from links(inner)


def test_every_link_leads_somewhere(filled):
    seen, todo = set(), ["/api", "/api/events?include=tickets.user,eventVenue&page[size]=1", "/api/tickets?page[size]=2", "/api/users"]
    while todo and len(seen) < 150:
        path = todo.pop()
        if path in seen or path is None or not path.startswith("/api"):
            continue
        seen.add(path)
        document = filled.get(path)
        todo += list(links(document))
        for resource in everything(document):
            if "links" in resource and resource["links"]["self"] not in seen:
                one = filled.get(resource["links"]["self"])["data"]
                assert (one["type"], one["id"]) == (resource["type"], resource["id"])
    assert len(seen) > 60


def test_related_links_stay(filled):
    sold, free = (filled.get(f"/api/tickets/{t}")["data"]["relationships"]["user"] for t in filled.tickets[:2])
    assert sold["data"] and free["data"] is None
    assert sold["links"]["related"].replace(filled.tickets[0], "") == free["links"]["related"].replace(filled.tickets[1], "")


def test_linkage_is_paged_as_linkage(filled):
    path, seen = f"/api/events/{filled.event_id}/relationships/tickets?page[size]=4", []
    while path:
        assert len(seen) <= len(filled.tickets), "next goes in a circle"
        document = filled.get(path)
        assert all(set(one) == {"type", "id"} for one in document["data"])
        seen += [one["id"] for one in document["data"]]
        path = document["links"]["next"]
    assert sorted(seen) == sorted(filled.tickets)


def test_links_are_percent_encoded(filled):
    document = filled.get("/api/tickets?filter[event]=" + filled.event_id + "&page[size]=2&sort=-seatNumber")
    for link in ("self", "first", "next"):
        assert re.fullmatch(r"[A-Za-z0-9/?=&%._~,+-]+", document["links"][link])
    assert len(filled.get(document["links"]["next"])["data"]) == 2


def test_brackets_encoded_or_not(filled):
    plain = filled.get("/api/tickets?page[size]=2&fields[tickets]=price")
    assert plain == filled.get("/api/tickets?page%5Bsize%5D=2&fields%5btickets%5d=price") | {"links": plain["links"]}


# --- parameters -------------------------------------------------------------------------------------------------------

def test_parameters_where_they_do_not_belong(filled):
    event, ticket = f"/api/events/{filled.event_id}", f"/api/tickets/{filled.tickets[0]}"
    for path in (f"{event}?sort=price", f"{event}?page[size]=1", f"{event}?filter[price]=1", f"{ticket}/event?sort=price",
                 f"{event}/relationships/tickets?include=tickets", "/api?include=x", f"{ticket}/relationships/user?sort=id"):
        filled("GET", path, status=400)
    body = {"data": {"type": "events", "attributes": GOOD}}
    assert errors(filled("POST", "/api/events?include=tickets", body, status=400)) == [("400", "unknown-parameter", "include")]


def test_sorting(filled):
    def seats(sort):
        return [t["attributes"]["seatNumber"] for t in filled.get(f"/api/tickets?sort={sort}")["data"]]
    assert seats("seatNumber") == sorted(seats("id")) and seats("-seatNumber") == sorted(seats("id"), reverse=True)


# --- changing ---------------------------------------------------------------------------------------------------------

def test_a_refused_update_changes_nothing(filled):
    path = f"/api/events/{filled.event_id}"
    before = filled.get(path)
    for attributes in ({"eventName": "Other", "price": "x"}, {"eventName": "Other", "startDate": "2001-01-01T00:00:00Z"},
                       {"eventName": "Other", "nothing": 1}, {"eventName": "Other", "venue": "ManchesterArena"}):
        answer = filled("PATCH", path, {"data": {"type": "events", "id": filled.event_id, "attributes": attributes}})
        assert answer.status in (403, 422)
    free = filled.tickets[1]
    bob = "00000000-0000-0000-0000-00000000000b"
    filled("POST", "/api/tickets/actions/purchase", {"meta": {"eventId": filled.event_id, "userId": bob,
                                                              "ticketIds": [free, filled.tickets[0]]}}, status=409)
    assert filled.get(path) == before and filled.get(f"/api/tickets/{free}/relationships/user")["data"] is None


def test_patch_documents_that_are_refused(filled):
    path, head = f"/api/events/{filled.event_id}", {"type": "events", "id": filled.event_id}
    for data, status in (([], 400), (None, 400), ({"id": filled.event_id}, 400), ({"type": "events"}, 400),
                         ({**head, "relationships": {"eventVenue": {}}}, 403), ({**head, "relationships": []}, 400),
                         ({**head, "relationships": {"tickets": {"data": []}}, "attributes": {"eventName": "Other"}}, 403)):
        filled("PATCH", path, {"data": data}, status=status)
    assert filled.get(path)["data"]["attributes"]["eventName"] == "Gig"


def lookup(document, pointer):
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def test_every_pointer_leads_to_a_value(filled):
    documents = [{"data": {"type": "events"}}, {"data": {"type": "events", "attributes": {}}}, {"meta": {}}, {"data": 5},
                 {"data": {"type": "users", "id": "x"}}, {"data": {"type": "events", "attributes": {"a/b": 1, "price": []}}},
                 {"data": {"type": "events", "attributes": {**GOOD, "startDate": "2001-01-01T00:00:00Z"}}},
                 {"data": {"type": "events", "attributes": GOOD}}, {"data": {"type": "events", "attributes": {**GOOD, "eventName": ""}}},
                 {"data": {"type": "events", "attributes": GOOD, "relationships": {"eventVenue": {}, "x": 1, "tickets": {}}}}]
    pointers = 0
    for document in documents:
        answer = filled("POST", "/api/events", document)
        assert answer.status >= 400, document
        for error in answer.json()["errors"]:
            if "pointer" in error.get("source", {}):
                lookup(document, error["source"]["pointer"])
                pointers += 1
    assert pointers > 15
