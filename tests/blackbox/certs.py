"""Authorities, certificates and keys for one test, by the openssl program."""
import pathlib
import ssl
import subprocess


def openssl(*args, text=None):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """ca.crt in a folder, and what it issues beside it."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.crt = self.folder / f"{name}.crt"
        openssl("req", "-x509", *self._key(name), "-out", self.crt, "-days", "30", "-subj", f"/CN=usher test {name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.crt.chmod(0o644)

    def _key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.folder / f"{name}.key"]

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1", days="20", to=None):
        """NAME.crt and NAME.key; `to` is a folder of its own. Negative days: expired."""
        request = openssl("req", "-new", *self._key(name), "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        target = pathlib.Path(to or self.folder)
        dates = ["-days", days]
        crt = openssl("x509", "-req", "-CA", self.crt, "-CAkey", self.folder / f"{self.name}.key", "-CAcreateserial",
                      "-copy_extensions", "copyall", *dates, text=request)
        (target / f"{name}.crt").write_text(crt)
        if target != self.folder:
            (self.folder / f"{name}.key").rename(target / f"{name}.key")
        (target / f"{name}.key").chmod(0o600)
        return target / f"{name}.crt", target / f"{name}.key"

    def server_context(self, name, **issue):
        """What a server of Python's shows: a certificate of that name, issued now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, **issue))
        return context
