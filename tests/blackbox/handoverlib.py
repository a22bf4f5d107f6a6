"""`usher serve` that hands itself over: which process is the service now, and what it owns."""
import os
import pathlib
import re
import shutil
import signal
import tempfile

from conftest import BINARY, free_port, wait_for
from faultlib import Serve, family, send_all, stat_of, still_there, wait_gone


class Service(Serve):
    """Serve, from a copy of the binary that a test may replace. `pid` is the supervisor that serves."""

    def __init__(self, cluster, env=None, own_binary=False, listen_by_file=None):
        self.folder = tempfile.mkdtemp(prefix="usher-service-")
        self.admin_port = free_port()
        super().__init__(cluster, {"ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}", "REQUEST_TIMEOUT": "20s", **(env or {})})
        self.program = f"{self.folder}/usher"
        if own_binary:
            shutil.copy(BINARY, self.program)
            self.command[0] = self.program
        if listen_by_file:
            self.command = self.command[:2]
            listen_by_file.write_text(f"LISTEN=127.0.0.1:{self.port}\n")
        self.pid = None
        self.seen = {}  # every process that ever belonged to it

    def start(self):
        super().start()
        self.pid = self.process.pid
        wait_for(lambda: len(self.note()) > 1, what="processes")
        return self

    def note(self):
        found = family(self.pid)
        self.seen.update(found)
        return found

    def is_mine(self, pid):
        while pid > 1 and pid != self.pid:
            pid = (stat_of(pid) or (0,))[0]
        return pid == self.pid

    def lines(self, text):
        return [line for line in list(self.log) if text in line]

    def wait_line(self, text, before, limit, what):
        try:
            return wait_for(lambda: self.lines(text)[before:], limit, what)[0]
        except AssertionError:
            print("".join(self.log[-40:]))
            raise

    def hand_over(self, limit=60):
        """Returns when the successor serves; the predecessor may still drain."""
        before, old = len(self.lines('"handed over"')), self.pid
        self.note()
        os.kill(old, signal.SIGUSR2)
        line = self.wait_line('"handed over"', before, limit, "the hand-over")
        self.pid = int(re.search(r'"successor_pid":(\d+)', line).group(1))
        self.note()
        assert self.pid != old
        return old

    def wait_ended(self, pid):
        """A predecessor; the first is our child, later ones are not."""
        if pid == self.process.pid:
            return self.process.wait(60)
        return wait_for(lambda: (s := stat_of(pid)) is None or s[1] in "ZX", 60, "the predecessor to end")

    def refused(self, replace):
        """replace() breaks the program or its settings; the hand-over must fail in words. Returns those."""
        before = len(self.lines("hand-over failed"))
        replace()
        os.kill(self.pid, signal.SIGUSR2)
        return self.wait_line("hand-over failed", before, 60, "the hand-over to fail")

    def replace_program(self, text=None):
        """As a package manager does: a new file, renamed over the old one."""
        new = pathlib.Path(f"{self.program}.new")
        if text is None:
            shutil.copy(BINARY, new)
        else:
            new.write_text(text)
            new.chmod(0o755)
        new.rename(self.program)

    def close(self):
        try:
            if self.process is not None:
                self.note()
                with_children = still_there(self.seen)
                for pid in {self.pid, self.process.pid} & set(with_children):
                    os.kill(pid, signal.SIGTERM)
                wait_for(lambda: self.process.poll() is not None, 60, "the service to end")
                wait_gone(self.seen, "the service")
        finally:
            send_all(self.seen, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)
