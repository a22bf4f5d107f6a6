"""Settings from a file, and SIGHUP."""
import http.client
import os
import signal
import subprocess

from conftest import BINARY, ROOT, Usher, wait_for


def config(tmp_path, text):
    path = tmp_path / "usher.conf"
    path.write_text(text)
    return str(path)


def run(path, *args, **env):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "USHER_CONFIG": path, **env})


def test_the_file_is_read_and_the_environment_wins(tmp_path):
    path = config(tmp_path, '# a comment\n\nLISTEN = "127.0.0.1:1234"\nHTTP_WORKERS=3\nHTTP_WORKERS=4\n')
    shown = run(path, "config").stdout
    assert "127.0.0.1:1234" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("HTTP_WORKERS")] == ["HTTP_WORKERS=4"]
    long = "/a/path/that/leaves/no/room/beside/it/for/the/meaning"
    lines = run(path, "config", GATEWAY_RECORD=long).stdout.splitlines()
    at = lines.index("GATEWAY_RECORD=" + long)
    assert lines[at + 1].startswith(" " * 38) and "recording" in lines[at + 1]
    assert "127.0.0.1:9" in run(path, "config", LISTEN="127.0.0.1:9").stdout


def test_mistakes_in_the_file_are_placed(tmp_path):
    for text, words in (("LISTEN\n", "line 1: NAME=value"), ("\nLISTNE=x\n", "line 2: there is no setting LISTNE"),
                        ("HTTP_WORKERS=none\n", "HTTP_WORKERS")):
        done = run(config(tmp_path, text), "config")
        assert done.returncode == 2 and words in done.stderr, done.stderr
    assert run(str(tmp_path / "missing"), "config").returncode == 2


def test_sighup_applies_quirks_without_dropping_a_connection(tmp_path):
    path = config(tmp_path, "QUIRKS_OFF=\n")
    with Usher(env={"USHER_CONFIG": path}) as usher:
        connection = http.client.HTTPConnection("127.0.0.1", usher.port, timeout=20)

        def status(method, target):
            connection.request(method, target)
            response = connection.getresponse()
            response.read()
            return response.status

        before = usher.workers()
        assert status("GET", "/EVENTS") == 200
        same_socket = connection.sock
        config(tmp_path, "QUIRKS_OFF=paths-any-case\n")
        usher.process.send_signal(signal.SIGHUP)
        wait_for(lambda: status("GET", "/EVENTS") == 404, what="the quirk to be off")
        assert status("GET", "/events") == 200
        config(tmp_path, "QUIRKS_OFF=no-such-quirk\n")
        usher.process.send_signal(signal.SIGHUP)
        wait_for(lambda: any("not reloaded" in line and "no-such-quirk" in line for line in usher.log), what="the refusal")
        assert status("GET", "/EVENTS") == 404, "a bad file changes nothing"
        config(tmp_path, "QUIRKS_OFF=\n")
        usher.process.send_signal(signal.SIGHUP)
        wait_for(lambda: status("GET", "/EVENTS") == 200, what="the quirk to be on again")
        assert connection.sock is same_socket and usher.workers() == before
