"""JSON:API 1.1 under /api: fetching, creating, updating, relationships, errors. docs/json-api.tsv says which rule of
the specification each test shows."""
import json

import pytest
from conftest import wait_for

MEDIA = "application/vnd.api+json"


class Api:
    def __init__(self, server):
        self.server = server

    def __call__(self, method, path, document=None, headers=None, status=None):
        sent = {"Accept": MEDIA, **({"Content-Type": MEDIA} if document is not None else {}), **(headers or {})}
        body = document if document is None or isinstance(document, (str, bytes)) else json.dumps(document)
        answer = self.server.request(method, path, body, headers=sent)
        if answer.body:
            check_document(answer)
        if status is not None:
            assert answer.status == status, answer
        return answer

    def get(self, path, status=200, **kw):
        return self("GET", path, status=status, **kw).json()

    def event(self, **attributes):
        given = {"eventName": "Gig", "startDate": "2095-01-02T10:00:00Z", "endDate": "2095-01-02T12:00:00Z",
                 "venue": "O2ArenaLondon", "price": "25.50", **attributes}
        return self("POST", "/api/events", {"data": {"type": "events", "attributes": given}})


def check_document(answer):
    """What holds for every document this surface sends."""
    assert answer.headers["content-type"] == MEDIA
    document = answer.json()
    assert document["jsonapi"] == {"version": "1.1"}
    assert ("data" in document) + ("errors" in document) + ("meta" in document) == 1
    assert set(document) <= {"jsonapi", "links", "data", "included", "errors", "meta"}
    for error in document.get("errors", []):
        assert set(error) <= {"status", "code", "title", "detail", "source"}
        assert isinstance(error["status"], str) and isinstance(error["code"], str)
        assert len(error.get("source", {"x": 1})) == 1
    if "errors" in document:
        assert {e["status"] for e in document["errors"]} == {str(answer.status)} or answer.status in (400, 500)
        return
    every = everything(document)
    names = [(r["type"], r["id"]) for r in every]
    assert len(names) == len(set(names)), "a resource is there twice"
    linked = set()
    for resource in every:
        assert isinstance(resource["id"], str) and isinstance(resource["type"], str)
        assert set(resource) <= {"type", "id", "attributes", "relationships", "links"}
        attributes, relationships = resource.get("attributes", {}), resource.get("relationships", {})
        assert not set(attributes) & set(relationships) and not {"id", "type"} & (set(attributes) | set(relationships))
        for relationship in relationships.values():
            assert {"links", "data", "meta"} & set(relationship)
            data = relationship.get("data")
            for one in data if isinstance(data, list) else [data] if data else []:
                assert set(one) == {"type", "id"}
                linked.add((one["type"], one["id"]))
    for resource in [] if "fields%5B" in document.get("links", {}).get("self", "") else document.get("included", []):
        assert (resource["type"], resource["id"]) in linked | {(r["type"], r["id"]) for r in primary(document)}


def primary(document):
    data = document.get("data")
    return data if isinstance(data, list) else [data] if data else []


def everything(document):
    return primary(document) + document.get("included", [])


@pytest.fixture
def api(server):
    return Api(server)


def errors(answer):
    return [(e["status"], e["code"], (e.get("source") or {}).get("pointer") or (e.get("source") or {}).get("parameter")
             or (e.get("source") or {}).get("header")) for e in answer.json()["errors"]]


# --- fetching ---------------------------------------------------------------------------------------------------------

def test_a_created_event_can_be_fetched(api):
    made = api.event()
    assert made.status == 201
    document = made.json()
    event = document["data"]
    assert made.headers["location"] == event["links"]["self"] == f"/api/events/{event['id']}"
    assert event["attributes"] == {"eventName": "Gig", "startDate": "2095-01-02T10:00:00+00:00",
                                   "endDate": "2095-01-02T12:00:00+00:00", "venue": "O2ArenaLondon", "price": "25.50"}
    assert event["relationships"]["eventVenue"]["data"] == {"type": "eventVenues", "id": "0"}
    again = api.get(f"/api/events/{event['id']}")
    assert again["data"] == event and again["links"] == {"self": f"/api/events/{event['id']}"}
    assert api.server.get(f"/events/{event['id']}").json()["EventName"] == "Gig"


def test_what_is_not_there(api):
    for path in ("/api/events/7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11", "/api/events/nonsense", "/api/eventVenues/99",
                 "/api/eventVenues/007", "/api/nothing", "/api/events/7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11/tickets",
                 "/api/events/x/relationships/tickets", "/api/events/7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11/nothing"):
        assert api("GET", path).status == 404, path


def test_collections_empty_and_full(api):
    assert api.get("/api/events")["data"] == []
    assert len(api.get("/api/eventVenues")["data"]) == 10
    assert api.get("/api/eventVenues/5")["data"]["attributes"]["code"] == "FirstDirectArenaLeeds"


def test_relationships_across_contexts(api):
    event = api.event().json()["data"]["id"]
    tickets = wait_for(lambda: api.get(f"/api/events/{event}/tickets")["data"])
    assert len(tickets) == 10 and all(t["relationships"]["event"]["data"] == {"type": "events", "id": event} for t in tickets)
    linkage = api.get(f"/api/events/{event}/relationships/tickets")
    assert linkage["data"] == [{"type": "tickets", "id": t["id"]} for t in tickets]
    assert linkage["links"]["self"] == f"/api/events/{event}/relationships/tickets"
    assert linkage["links"]["related"] == f"/api/events/{event}/tickets"
    ticket = tickets[0]["id"]
    assert api.get(f"/api/tickets/{ticket}/event")["data"]["id"] == event
    assert api.get(f"/api/tickets/{ticket}/user")["data"] is None
    assert api.get(f"/api/tickets/{ticket}/relationships/user")["data"] is None
    assert api.get(f"/api/tickets/{ticket}/relationships/event")["data"] == {"type": "events", "id": event}
    assert api.get(f"/api/events/{event}/eventVenue")["data"]["id"] == "0"
    assert [e["id"] for e in api.get("/api/eventVenues/0/events")["data"]] == [event]
    assert api.get("/api/eventVenues/1/events")["data"] == []


def test_include_is_fully_linked_and_says_nothing_twice(api):
    first, second = api.event().json()["data"]["id"], api.event(startDate="2095-02-02T10:00:00Z",
                                                                endDate="2095-02-02T12:00:00Z").json()["data"]["id"]
    wait_for(lambda: len(api.get("/api/tickets?page%5Bsize%5D=100")["data"]) == 20)
    document = api.get("/api/events?include=tickets.event,eventVenue")
    assert {e["id"] for e in document["data"]} == {first, second}
    kinds = sorted({r["type"] for r in document["included"]})
    assert kinds == ["eventVenues", "tickets"] and len(document["included"]) == 21
    assert all(len(e["relationships"]["tickets"]["data"]) == 10 for e in document["data"])
    document = api.get(f"/api/tickets?include=event&filter[event]={first}&page[size]=3")
    assert [r["id"] for r in document["included"]] == [first] and len(document["data"]) == 3
    assert "included" not in api.get("/api/events")
    assert api.get("/api/events?include=")["included"] == []


@pytest.mark.parametrize("query, parameter", [
    ("include=nothing", "include"), ("include=tickets.nothing", "include"), ("include=tickets.event.tickets.event.tickets", "include"),
    ("fields[nothing]=x", "fields[nothing]"), ("fields[events]=nothing", "fields[events]"), ("sort=nothing", "sort"),
    ("sort=price,price", "sort"), ("sort=", "sort"), ("sort=-", "sort"), ("filter[nothing]=1", "filter[nothing]"),
    ("filter[price][gt]=x", "filter[price][gt]"), ("filter[price][like]=1", "filter[price][like]"),
    ("filter[eventName][null]=true", "filter[eventName][null]"), ("filter[startDate][gt]=2030-01-01", "filter[startDate][gt]"),
    ("page[size]=0", "page[size]"), ("page[size]=501", "page[size]"), ("page[size]=x", "page[size]"),
    ("page[number]=1", "page[number]"), ("page[after]=x", "page[after]"), ("page[after]=eyJ9", "page[after]"),
    ("nothing=1", "nothing"), ("sort=price&sort=price", "sort"), ("filter=1", "filter"), ("a[b]c=1", "a[b]c"),
    ("filter[venue]=O2", "filter[venue]"), ("include=tickets&include=tickets", "include")])
def test_parameters_that_are_refused(api, query, parameter):
    answer = api("GET", f"/api/events?{query}", status=400)
    assert errors(answer)[0][2] == parameter


@pytest.mark.parametrize("query", ["%ZZ=1", "sort=%ff", "sort=%00", "a%5=1"])
def test_queries_that_are_no_text(api, query):
    api("GET", f"/api/events?{query}", status=400)


@pytest.mark.parametrize("raw, read", [
    ("a+b", "a b"), ("a%20b", "a b"), ("a%2Bb", "a+b"), ("%41%62%7E", "Ab~"), ("%e2%82%ac", "\u20ac"), ("%ZZ", "%ZZ"), ("%", "%"), ("a%", "a%"),
    ("%4", "%4"), ("%4z", "%4z"), ("%%41", "%A"), ("%2541", "%41"), ("%ff", "\ufffd"), ("%c3%28", "\ufffd("), ("a=b", "a=b"), ("a;b", "a;b"), ("", "")])
def test_an_escape_that_is_none_stands_for_itself(api, raw, read):
    """application/x-www-form-urlencoded, seen in what the refusal quotes."""
    refused = api("GET", f"/api/events?filter[price]={raw}", status=400)
    assert refused.json()["errors"][0]["detail"] == f'"{read}" is no value of this field.'


def test_sparse_fieldsets(api):
    event = api.event().json()["data"]["id"]
    document = api.get(f"/api/events/{event}?fields[events]=eventName,tickets")
    assert set(document["data"]["attributes"]) == {"eventName"} and set(document["data"]["relationships"]) == {"tickets"}
    document = api.get(f"/api/events/{event}?fields[events]=&include=eventVenue&fields[eventVenues]=code")
    assert document["data"]["attributes"] == {} and "relationships" not in document["data"]


# --- sort, filter, page -----------------------------------------------------------------------------------------------

@pytest.fixture
def many(api):
    """Ten venues and a dozen events, some of one price."""
    for n in range(12):
        made = api.event(eventName=f"Gig {n:02d}", price=f"{n % 4}.50", startDate=f"2095-01-{n + 1:02d}T10:00:00Z",
                         endDate=f"2095-01-{n + 1:02d}T12:00:00Z", venue="RoundhouseLondon" if n % 2 else "O2ArenaLondon")
        assert made.status == 201
    return api


def names(document):
    return [r["attributes"]["eventName"] for r in document["data"]]


@pytest.mark.parametrize("filters, wanted", [
    ("filter[eventName]=Gig 03", [3]), ("filter[eventName][eq]=Gig 03", [3]), ("filter[eventName][in]=Gig 03,Gig 04,Gig 99", [3, 4]),
    ("filter[eventName][starts]=Gig 1", [10, 11]), ("filter[price][gt]=2.5", [3, 7, 11]), ("filter[price][ge]=2.50", [2, 3, 6, 7, 10, 11]),
    ("filter[price][lt]=1", [0, 4, 8]), ("filter[price][le]=0.5", [0, 4, 8]), ("filter[price][ne]=0.5&filter[price][lt]=2", [1, 5, 9]),
    ("filter[startDate][ge]=2095-01-11T11:00:00%2B01:00", [10, 11]), ("filter[venue]=RoundhouseLondon&filter[price]=1.5", [1, 5, 9]),
    ("filter[eventVenue]=9&filter[price]=3.5", [3, 7, 11]), ("filter[eventName]=' OR 1=1 --", [])])
def test_filters(many, filters, wanted):
    assert names(many.get(f"/api/events?sort=eventName&{filters.replace(' ', '%20')}")) == [f"Gig {n:02d}" for n in wanted]


def test_filters_on_what_may_be_missing(api):
    api.event()
    wait_for(lambda: len(api.get("/api/tickets")["data"]) == 10)
    assert len(api.get("/api/tickets?filter[purchasedAt][null]=true")["data"]) == 10
    assert api.get("/api/tickets?filter[user][null]=false")["data"] == []


def walk(api, page, link):
    """The pages behind this one by next or prev; pages that go in a circle end the test, not the machine."""
    seen = {page["links"]["self"]}
    while page["links"][link]:
        assert page["links"][link] not in seen and len(seen) < 200, f"{link} goes in a circle: {page['links'][link]}"
        seen.add(page["links"][link])
        page = api.get(page["links"][link])
        yield page


@pytest.mark.parametrize("sort", ["eventName", "-eventName", "price", "-price", "price,-eventName", "-price,eventName",
                                  "-price,startDate,-eventName", "id", "-id", "venue,-price"])
@pytest.mark.parametrize("size", [1, 5, 12, 100])
def test_pages_forward_and_back(many, sort, size):
    whole = names(many.get(f"/api/events?sort={sort}"))
    assert len(whole) == 12
    page = many.get(f"/api/events?sort={sort}&page[size]={size}")
    assert page["links"]["prev"] is None
    seen, pages = names(page), [names(page)]
    for page in walk(many, page, "next"):
        seen += names(page)
        pages.append(names(page))
    assert seen == whole
    back = [names(page)]
    for page in walk(many, page, "prev"):
        back.insert(0, names(page))
    assert [b for b in back if b] == pages
    assert names(many.get(page["links"]["first"])) == pages[0]


def test_pages_over_missing_values(api):
    api.event()
    tickets = wait_for(lambda: (t := api.get("/api/tickets?sort=seatNumber")["data"]) and len(t) == 10 and t)
    user = api("POST", "/api/users", {"data": {"type": "users", "attributes": {
        "fullName": "Ann", "email": "ann@example.com", "userType": "Customer"}}}, status=201).json()["data"]["id"]
    event = tickets[0]["relationships"]["event"]["data"]["id"]
    api("POST", "/api/tickets/actions/purchase", {"meta": {"eventId": event, "userId": user,
                                                           "ticketIds": [t["id"] for t in tickets[2:6]]}}, status=204)
    for sort in ("purchasedAt,seatNumber", "-purchasedAt,seatNumber", "purchasedAt,-seatNumber", "-purchasedAt"):
        whole = [t["id"] for t in api.get(f"/api/tickets?sort={sort}")["data"]]
        assert set(whole[:4]) == {t["id"] for t in tickets[2:6]}
        page = api.get(f"/api/tickets?sort={sort}&page[size]=3")
        forward = [t["id"] for t in page["data"]]
        for page in walk(api, page, "next"):
            forward += [t["id"] for t in page["data"]]
        assert forward == whole
        backward = [t["id"] for t in page["data"]]
        for page in walk(api, page, "prev"):
            backward = [t["id"] for t in page["data"]] + backward
        assert backward == whole
    found = wait_for(lambda: api.get(f"/api/users/{user}/tickets?include=event,user")["data"])
    assert len(found) == 4


def test_a_cursor_belongs_to_its_order(many):
    page = many.get("/api/events?sort=price&page[size]=2")
    cursor = page["links"]["next"].rsplit("=", 1)[1]
    assert errors(many("GET", f"/api/events?sort=-price&page[after]={cursor}", status=400)) == [("400", "invalid-cursor", "page[after]")]
    assert errors(many("GET", f"/api/events?sort=price&page[after]={cursor}&page[before]={cursor}", status=400))[0][1] == "invalid-page"


# --- creating and updating --------------------------------------------------------------------------------------------

def create(api, data, status, **kw):
    return api("POST", "/api/events", {"data": data}, status=status, **kw)


GOOD = {"eventName": "Gig", "startDate": "2095-01-02T10:00:00Z", "endDate": "2095-01-02T12:00:00Z", "venue": "O2ArenaLondon",
        "price": "25.50"}


@pytest.mark.parametrize("attributes, status, wanted", [
    ({"eventName": 5}, 422, [("422", "invalid-value", "/data/attributes/eventName")]),
    ({"eventName": None}, 422, [("422", "invalid-value", "/data/attributes/eventName")]),
    ({"eventName": "x\0y"}, 422, [("422", "invalid-value", "/data/attributes/eventName")]),
    ({"eventName": ""}, 422, [("422", "invalid", "/data/attributes/eventName")]),
    ({"eventName": "!!!"}, 422, [("422", "invalid", "/data/attributes/eventName")]),
    ({"startDate": "2095-01-02"}, 422, [("422", "invalid-value", "/data/attributes/startDate")]),
    ({"startDate": "2095-01-02T10:00:00"}, 422, [("422", "invalid-value", "/data/attributes/startDate")]),
    ({"startDate": "2095-13-02T10:00:00Z"}, 422, [("422", "invalid-value", "/data/attributes/startDate")]),
    ({"startDate": "2001-01-02T10:00:00Z"}, 422, [("422", "invalid", "/data/attributes/startDate")]),
    ({"endDate": "2095-01-02T09:00:00Z"}, 422, [("422", "invalid", "/data/attributes/endDate")]),
    ({"venue": "Nowhere"}, 422, [("422", "invalid-value", "/data/attributes/venue")]),
    ({"venue": 5}, 422, [("422", "invalid-value", "/data/attributes/venue")]),
    ({"price": "x"}, 422, [("422", "invalid-value", "/data/attributes/price")]),
    ({"price": "79228162514264337593543950335"}, 422, [("422", "invalid", "/data/attributes/price")]),
    ({"price": True, "venue": []}, 422, [("422", "invalid-value", "/data/attributes/price"),
                                         ("422", "invalid-value", "/data/attributes/venue")]),
    ({"nothing": 1}, 422, [("422", "unknown-field", "/data/attributes/nothing")]),
    ({"a/b~c": 1}, 422, [("422", "unknown-field", "/data/attributes/a~1b~0c")]),
    ({"@note": 1}, 201, None)])
def test_attributes_that_are_refused(api, attributes, status, wanted):
    answer = create(api, {"type": "events", "attributes": {**GOOD, **attributes}}, status)
    if wanted:
        found = errors(answer)
        assert sorted(found) == sorted(wanted)


def test_documents_that_are_refused(api):
    def refused(document, status, pointer, headers=None):
        assert errors(api("POST", "/api/events", document, status=status, headers=headers))[0][2] == pointer
    refused({"data": {"type": "users", "attributes": GOOD}}, 409, "/data/type")
    refused({"data": {"type": "events", "id": "7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11", "attributes": GOOD}}, 403, "/data/id")
    refused({"data": {"attributes": GOOD}}, 400, "/data")
    refused({"data": {"type": 5, "attributes": GOOD}}, 400, "/data/type")
    refused({"data": []}, 400, "/data")
    refused({"data": None}, 400, "/data")
    refused({"meta": {}}, 400, None)
    refused([], 400, None)
    refused("{", 400, None)
    refused("", 400, None)
    refused(b'{"data": {"type": "events", "type": "events"}}', 400, None)
    refused(b'{"data": "\xff"}', 400, None)
    refused({"data": {"type": "events", "attributes": []}}, 400, "/data/attributes")
    refused({"data": {"type": "events"}}, 422, "/data")
    refused({"data": {"type": "events", "attributes": {}}}, 422, "/data/attributes")
    refused({"data": {"type": "events", "attributes": GOOD, "relationships": {"tickets": {"data": []}}}}, 403, "/data/relationships/tickets")
    refused({"data": {"type": "events", "attributes": GOOD, "relationships": {"nothing": {"data": []}}}}, 422, "/data/relationships/nothing")
    refused({"data": {"type": "events", "attributes": GOOD, "relationships": {"eventVenue": {"data": None}}}}, 422, "/data/relationships/eventVenue")
    refused({"data": {"type": "events", "attributes": GOOD, "relationships": {
        "eventVenue": {"data": {"type": "users", "id": "1"}}}}}, 409, "/data/relationships/eventVenue")


def test_a_related_resource_that_is_not_there(api):
    for id in ("99", "x"):
        answer = create(api, {"type": "events", "attributes": GOOD, "relationships": {
            "eventVenue": {"data": {"type": "eventVenues", "id": id}}}}, 404)
        assert errors(answer) == [("404", "not-found", "/data/relationships/eventVenue")]


def test_a_relationship_at_creation(api):
    given = {k: v for k, v in GOOD.items() if k != "venue"}
    made = create(api, {"type": "events", "attributes": given, "relationships": {
        "eventVenue": {"data": {"type": "eventVenues", "id": "9"}}}}, 201).json()["data"]
    assert made["attributes"]["venue"] == "RoundhouseLondon"


def test_a_slot_that_is_taken_is_a_conflict(api):
    api.event()
    assert errors(api.event()) == [("409", "conflict", "/data/attributes/venue")]


def test_updates_change_what_they_name(api):
    event = api.event().json()["data"]
    path = event["links"]["self"]
    def patch(attributes, status=200, **kw):
        return api("PATCH", path, {"data": {"type": "events", "id": event["id"], "attributes": attributes}}, status=status, **kw)
    changed = patch({"eventName": "Other"}).json()["data"]
    assert changed["attributes"] == {**event["attributes"], "eventName": "Other"}
    assert api.get(path)["data"] == changed
    assert patch({}).json()["data"] == changed
    assert errors(patch({"venue": "RoundhouseLondon"}, 403)) == [("403", "not-writable", "/data/attributes/venue")]
    assert errors(patch({"price": []}, 422)) == [("422", "invalid-value", "/data/attributes/price")]
    body = {"data": {"type": "events", "id": event["id"], "attributes": {}}}
    assert api("PATCH", "/api/events/7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11", body).status == 404
    assert api("PATCH", path, {"data": {"type": "users", "id": event["id"]}}).status == 409
    assert api("PATCH", path, {"data": {"type": "events", "id": "7b5ab7ce-2d5a-4f9d-b8c5-6f3ff9a2ab11"}}).status == 409
    assert api("PATCH", path, {"data": {"type": "events"}}).status == 400
    assert api("PATCH", path, {"data": {"type": "events", "id": event["id"], "relationships": {"eventVenue": {
        "data": {"type": "eventVenues", "id": "9"}}}}}).status == 403


def test_relationships_are_not_written_by_themselves(api):
    event = api.event().json()["data"]["id"]
    many, one = f"/api/events/{event}/relationships/tickets", f"/api/events/{event}/relationships/eventVenue"
    for method in ("PATCH", "POST", "DELETE"):
        assert api(method, many, {"data": []}).status == 403
        assert api(method, many, {"data": None}).status == 400
    assert api("PATCH", one, {"data": {"type": "eventVenues", "id": "1"}}).status == 403
    assert api("PATCH", one, {"data": []}).status == 400
    assert api("POST", one, {"data": []}).status == 405
    assert api("DELETE", f"/api/events/{event}").status == 405


def test_users_by_the_same_means(api):
    def user(**a):
        given = {"fullName": "Ann", "email": "ann@example.com", "userType": "Administrator", **a}
        return api("POST", "/api/users", {"data": {"type": "users", "attributes": given}})
    made = user()
    assert made.status == 201 and made.json()["data"]["attributes"]["userType"] == "Administrator"
    assert errors(user()) == [("409", "conflict", "/data/attributes/email")]
    assert errors(user(email="nobody")) == [("422", "invalid", "/data/attributes/email")]
    assert errors(user(fullName="4")) == [("422", "invalid", "/data/attributes/fullName")]


# --- custom actions ---------------------------------------------------------------------------------------------------

def test_seats_are_held_and_bought(api):
    event = api.event().json()["data"]["id"]
    seats = [t["id"] for t in wait_for(lambda: api.get(f"/api/events/{event}/tickets")["data"])]
    ann, bob = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
    def act(name, user, tickets, status):
        return api("POST", f"/api/tickets/actions/{name}", {"meta": {"eventId": event, "userId": user, "ticketIds": tickets}}, status=status)
    assert act("reserve", ann, seats[:2], 204).body == ""
    assert errors(act("purchase", bob, seats[:2], 409)) == [("409", "conflict", "/meta/ticketIds")]
    act("purchase", ann, seats[:2], 204)
    sold = api.get(f"/api/tickets/{seats[0]}")["data"]
    assert sold["relationships"]["user"]["data"] == {"type": "users", "id": ann} and sold["attributes"]["purchasedAt"]
    assert act("purchase", bob, seats[:1], 409).status == 409
    bad = api("POST", "/api/tickets/actions/reserve", {"meta": {"eventId": "x", "ticketIds": [1], "more": 1}}, status=422)
    assert sorted(e[2] for e in errors(bad)) == ["/meta", "/meta/eventId", "/meta/more", "/meta/ticketIds"]
    assert api("POST", "/api/tickets/actions/reserve", {"data": None}, status=400)
    assert api("GET", "/api/tickets/actions/reserve").status in (404, 405)


# --- negotiation ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("accept, status", [
    (MEDIA, 200), ("*/*", 200), ("application/*;q=0.1", 200), (f'{MEDIA}; profile="http://example.com/x"', 200),
    (f"{MEDIA}; charset=utf-8", 406), (f'{MEDIA}; ext="http://example.com/x"', 406), ("text/html", 406),
    (f"{MEDIA}; charset=utf-8, {MEDIA}", 200), (f"{MEDIA};q=0", 406), ("application/json", 406), ("", 200),
    (f'{MEDIA}; profile="a,b;c", text/html', 200), (f"{MEDIA}; charset=utf-8, */*", 406), (f"*/*, {MEDIA};q=0", 406),
    ("application/*;q=0, */*", 406), (f"application/*;q=0, {MEDIA}", 200), (f'{MEDIA}; ext="x", {MEDIA}; profile="y", */*', 200)])
def test_accept(api, accept, status):
    answer = api("GET", "/api/events", headers={"Accept": accept}, status=status)
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("kind, status", [
    (MEDIA, 201), (f'{MEDIA}; profile="http://example.com/x y"', 201), (f"{MEDIA}; charset=utf-8", 415),
    (f'{MEDIA}; ext="http://example.com/x"', 415), ("application/json", 415), ("text/plain", 415), (f"{MEDIA}; q=1", 415), (f"{MEDIA};", 201)])
def test_content_type(api, kind, status):
    create(api, {"type": "events", "attributes": GOOD}, status, headers={"Content-Type": kind})


def test_methods(api):
    answer = api("PUT", "/api/events", {"data": None})
    assert answer.status == 405 and answer.headers["allow"] == "GET, POST"
    head = api("HEAD", "/api/events")
    assert head.status == 200 and head.body == "" and int(head.headers["content-length"]) > 0
    assert api.get("/api")["meta"]["collections"]["events"] == "/api/events"


# --- entity tags ------------------------------------------------------------------------------------------------------

def test_entity_tags_lock_optimistically(api):
    made = api.event()
    event, tag = made.json()["data"], made.headers["etag"]
    path = event["links"]["self"]
    got = api("GET", path)
    assert got.headers["etag"] == tag and tag.startswith('"')
    assert api("GET", path, headers={"If-None-Match": tag}).status == 304
    assert api("GET", path, headers={"If-None-Match": f'"x", W/{tag}'}).status == 304
    body = {"data": {"type": "events", "id": event["id"], "attributes": {"eventName": "One"}}}
    changed = api("PATCH", path, body, headers={"If-Match": tag}, status=200)
    assert changed.headers["etag"] not in (tag, None)
    assert api("GET", path).headers["etag"] == changed.headers["etag"]
    body["data"]["attributes"]["eventName"] = "Two"
    assert errors(api("PATCH", path, body, headers={"If-Match": tag}, status=412)) == [("412", "changed", "If-Match")]
    api("PATCH", path, body, headers={"If-Match": f"W/{changed.headers['etag']}"}, status=412)
    assert api.get(path)["data"]["attributes"]["eventName"] == "One"
    api("PATCH", path, body, headers={"If-Match": "*"}, status=200)
    assert "etag" not in api("GET", f"{path}?fields[events]=price").headers


def test_no_update_of_a_part_is_lost(api):
    """Two clients change different attributes at once, many times; each sees its own change stay."""
    import threading
    event = api.event().json()["data"]
    path, failures = event["links"]["self"], []

    def change(name, values):
        for value in values:
            body = {"data": {"type": "events", "id": event["id"], "attributes": {name: value}}}
            for _ in range(500):
                answer = api("PATCH", path, body)
                if answer.status == 409:
                    continue
                if answer.status != 200 or api.get(path)["data"]["attributes"][name] != value:
                    failures.append((answer, value))
                break
    threads = [threading.Thread(target=change, args=("eventName", [f"Gig {n}" for n in range(25)])),
               threading.Thread(target=change, args=("price", [f"{n}.25" for n in range(25)]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- idempotency keys -------------------------------------------------------------------------------------------------

def test_a_key_makes_one_effect(api):
    body, headers = {"data": {"type": "events", "attributes": GOOD}}, {"Idempotency-Key": '"a-1"'}
    first = api("POST", "/api/events", body, headers=headers, status=201)
    again = api("POST", "/api/events", body, headers=headers, status=201)
    assert again.body == first.body and again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    assert len(api.get("/api/events")["data"]) == 1
    other = {"data": {"type": "events", "attributes": {**GOOD, "eventName": "Other"}}}
    assert errors(api("POST", "/api/events", other, headers=headers, status=422)) == [("422", "key-reused", "Idempotency-Key")]
    assert errors(api("POST", "/api/events", body, headers={"Idempotency-Key": "x" * 256}, status=400))[0][1] == "invalid-key"


def test_a_refused_request_uses_up_no_key(api):
    headers = {"Idempotency-Key": "b-1"}
    bad = {"data": {"type": "events", "attributes": {**GOOD, "eventName": "!"}}}
    api("POST", "/api/events", bad, headers=headers, status=422)
    api("POST", "/api/events", {"data": {"type": "events", "attributes": GOOD}}, headers=headers, status=201)


def test_a_key_forgotten_after_a_day(api):
    headers, body = {"Idempotency-Key": "c-1"}, {"data": {"type": "events", "attributes": GOOD}}
    api("POST", "/api/events", body, headers=headers, status=201)
    api.server.sql("UPDATE events.idempotency_keys SET kept_at = kept_at - interval '25 hours'")
    api("POST", "/api/events", body, headers=headers, status=409)  # the slot is taken: it was tried anew
    api.event(venue="RoundhouseLondon")
    made = {"data": {"type": "events", "attributes": {**GOOD, "venue": "ManchesterArena"}}}
    api("POST", "/api/events", made, headers=headers, status=201)
    assert api.server.sql("SELECT count(*) FROM events.idempotency_keys")[0][0] == 1


def test_many_at_once_with_one_key_have_one_effect(api):
    import threading
    event = api.event().json()["data"]["id"]
    seat = wait_for(lambda: api.get(f"/api/events/{event}/tickets")["data"])[0]["id"]
    user = "00000000-0000-0000-0000-00000000000a"
    body = {"meta": {"eventId": event, "userId": user, "ticketIds": [seat]}}
    answers = []

    def buy():
        answers.append(api("POST", "/api/tickets/actions/purchase", body, headers={"Idempotency-Key": "d-1"}))
    threads = [threading.Thread(target=buy) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status for a in answers} <= {204, 409} and any(a.status == 204 for a in answers)
    assert all(errors(a)[0][1] == "in-flight" for a in answers if a.status == 409)
    assert api("POST", "/api/tickets/actions/purchase", body, headers={"Idempotency-Key": "d-1"}).status == 204
