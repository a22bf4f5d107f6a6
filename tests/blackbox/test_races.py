"""What concurrent requests did to the old system (contracts/races.json), and must not do here."""
import http.client
import json
import threading

import pytest

from conftest import wait_for


def fire(server, requests):
    """Opens all connections first, then sends all at once. Returns the statuses in order."""
    connections = []
    for _ in requests:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.connect()
        connections.append(connection)
    barrier = threading.Barrier(len(requests))
    statuses = [None] * len(requests)

    def one(i):
        method, path, body = requests[i]
        barrier.wait()
        connections[i].request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connections[i].getresponse()
        response.read()
        statuses[i] = response.status
        connections[i].close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert None not in statuses
    return statuses


def user(i):
    return f"00000000-0000-4000-8000-{i:012d}"


@pytest.fixture
def gig(server):
    event = server.new_event()
    return event, server.tickets(event)


def test_one_seat_is_reserved_once_by_200(server, gig):
    event, seats = gig
    statuses = fire(server, [("POST", f"/events/{event}/tickets/reserve", {"userId": user(i), "ticketIds": [seats[0]["Id"]]})
                             for i in range(200)])
    assert statuses.count(204) == 1 and statuses.count(400) == 199
    holder = server.sql("SELECT user_id::text FROM tickets.reservations")
    assert len(holder) == 1 and statuses[int(holder[0][0][-12:])] == 204


def test_one_seat_is_sold_once_to_200(server, gig):
    event, seats = gig
    statuses = fire(server, [("POST", f"/events/{event}/tickets/purchase", {"userId": user(i), "ticketIds": [seats[0]["Id"]]})
                             for i in range(200)])
    assert statuses.count(204) == 1 and statuses.count(400) == 199
    buyer = server.sql("SELECT user_id::text FROM tickets.tickets WHERE user_id IS NOT NULL")
    assert len(buyer) == 1 and statuses[int(buyer[0][0][-12:])] == 204


def test_overlapping_pairs_that_share_a_seat_sell_once(server, gig):
    event, seats = gig
    statuses = fire(server, [("POST", f"/events/{event}/tickets/purchase",
                              {"userId": user(i), "ticketIds": [seats[0]["Id"], seats[1 + i % 14]["Id"]]}) for i in range(200)])
    assert statuses.count(204) == 1
    assert server.sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL")[0][0] == 2


def test_distinct_seats_all_sell_and_then_it_is_sold_out(server, gig):
    event, seats = gig
    statuses = fire(server, [("POST", f"/events/{event}/tickets/purchase",
                              {"userId": user(i), "ticketIds": [seats[i % 15]["Id"]]}) for i in range(150)])
    assert statuses.count(204) == 15 and statuses.count(400) == 135
    for row_user, seat in server.sql("SELECT user_id::text, id::text FROM tickets.tickets"):
        index = int(row_user[-12:])
        assert statuses[index] == 204 and seats[index % 15]["Id"] == seat


def test_a_held_seat_is_never_sold_to_another(server, gig):
    """Holders and buyers at once: whoever bought either held the seat or nobody did."""
    event, seats = gig
    requests = []
    for i in range(60):
        seat = seats[i % 15]["Id"]
        requests.append(("POST", f"/events/{event}/tickets/reserve", {"userId": user(i), "ticketIds": [seat]}))
        requests.append(("POST", f"/events/{event}/tickets/purchase", {"userId": user(1000 + i), "ticketIds": [seat]}))
    statuses = fire(server, requests)
    for seat_index in range(15):
        reserved = [i for i in range(60) if i % 15 == seat_index and statuses[2 * i] == 204]
        bought = [i for i in range(60) if i % 15 == seat_index and statuses[2 * i + 1] == 204]
        assert len(bought) <= 1 and len(reserved) <= 1
        assert bought or reserved


def test_one_slot_is_booked_once_by_50(server):
    body = {"EventName": "Slot", "StartDate": "2095-05-01T10:00:00Z", "EndDate": "2095-05-01T12:00:00Z",
            "Venue": "O2ArenaLondon", "Price": 1}
    statuses = fire(server, [("POST", "/events", body)] * 50)
    assert statuses.count(201) == 1 and statuses.count(400) == 49
    assert len(server.get("/events").json()) == 1


def test_one_email_is_registered_once_by_50(server):
    statuses = fire(server, [("POST", "/users", {"FullName": "Ann", "Email": "one@x.io", "UserType": 0})] * 50)
    assert statuses.count(201) == 1 and statuses.count(400) == 49
    assert len(server.get("/users").json()) == 1


def test_emails_taken_by_updates_stay_unique(server):
    ids = [server.new_user(f"u{i}@x.io") for i in range(20)]
    statuses = fire(server, [("PUT", f"/users/{id}", {"FullName": "Same", "Email": "same@x.io"}) for id in ids])
    assert statuses.count(204) == 1 and statuses.count(400) == 19
    emails = [u["Email"] for u in server.get("/users").json()]
    assert len(set(emails)) == 20


def test_16_price_changes_end_equal_everywhere(server, gig):
    event, _ = gig
    body = {"EventName": "Gig", "StartDate": "2095-01-02T10:00:00Z", "EndDate": "2095-01-02T12:00:00Z"}
    for round_number in range(3):
        statuses = fire(server, [("PUT", f"/events/{event}", {**body, "Price": 100 * round_number + i}) for i in range(16)])
        assert statuses == [204] * 16
        price = server.get(f"/events/{event}").json()["Price"]
        wait_for(lambda: {float(t["Price"]) for t in server.tickets(event)} == {float(price)},
                 what="every ticket to have the event's last price")
        assert float(server.sql("SELECT price FROM tickets.events WHERE id = %s", event)[0][0]) == float(price)
