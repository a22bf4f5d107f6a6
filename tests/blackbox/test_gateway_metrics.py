"""What /metrics says of the gateway's upstreams, instance by instance."""
import http.client
import re

from conftest import free_port, wait_for
from gatewaylib import Gateway
from oddserver import OddServer
from test_gateway import get


class Metrics:
    def __init__(self, port):
        self.port = port

    def samples(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        rows = re.findall(r'^([a-z_]+)\{(.*)\} (\S+)$', text, re.M)
        return [(name, dict(re.findall(r'([a-z_]+)="([^"]*)"', labels)), float(value)) for name, labels, value in rows]

    def total(self, name, **labels):
        return sum(v for n, have, v in self.samples() if n == name and labels.items() <= have.items())


def test_upstreams_by_instance():
    admin, dead = free_port(), free_port()
    with OddServer() as old:
        def routes(*ports):
            return {"upstreams": {"old": {"urls": [f"http://127.0.0.1:{p}" for p in ports], "failures_max": 1, "aside": "60s"}}}

        with Gateway(routes=routes(old.port, dead), env={"ADMIN_LISTEN": f"127.0.0.1:{admin}"}) as gateway:
            metrics = Metrics(admin)
            wait_for(lambda: metrics.total("usher_upstream_state", server_port=str(dead), usher_state="well") == 1, what="both are there")
            statuses = [gateway.ask(get("/echo")).status for _ in range(8)]
            assert 200 in statuses
            duration = "usher_upstream_request_duration_seconds_count"
            alive, gone = {"server_port": str(old.port)}, {"server_port": str(dead)}
            answered = statuses.count(200)
            wait_for(lambda: metrics.total(duration, usher_upstream="old", server_address="127.0.0.1", **alive) == answered, what="answers")
            wait_for(lambda: metrics.total("usher_upstream_failures_total", **gone) >= 1, what="an attempt that was tried again elsewhere")
            wait_for(lambda: metrics.total("usher_upstream_state", usher_state="aside", **gone) == 1, what="its circuit is open")
            assert metrics.total("usher_upstream_state", usher_state="well", **gone) == 0
            wait_for(lambda: metrics.total("http_client_open_connections", http_connection_state="idle", **alive) >= 1, what="kept")
            assert metrics.total("http_client_active_requests", **alive) == 0
            gateway.write_routes(routes(old.port))
            gateway.reload()
            wait_for(lambda: metrics.total("usher_upstream_state", **gone) == 0, what="an instance that is gone is in no state")
            assert metrics.total("usher_upstream_state", **alive) == 1
