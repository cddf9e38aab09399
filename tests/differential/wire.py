"""Requests as the generator writes them, and what is kept of an answer.

A request names ids by symbols, `@image3@`: each service has its own table of what they stand for.
"""

import dataclasses
import http.client
import json
import urllib.parse

TIMEOUT = 60


@dataclasses.dataclass
class Request:
    """One request. `save` is the symbol for the `id` of a created object."""

    persona: str
    method: str
    path: str
    headers: dict = dataclasses.field(default_factory=dict)
    body: object = None
    save: str = ""
    # Ask again until the status of the image is none of these, on each service by itself.
    until_not: tuple = ()

    def payload(self):
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()

    def line(self):
        """One line that says it all, for reports and for the patterns of differences.toml."""
        parts = [self.persona, self.method, self.path]
        parts += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            text = repr(self.body) if isinstance(self.body, bytes) else json.dumps(self.body)
            parts.append(text if len(text) < 600 else f"{text[:600]}... ({len(text)} characters)")
        return " ".join(parts)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def personas(number):
    """Who asks in one episode: projects of its own, so that no episode sees another's images."""
    def of(project, roles, **more):
        headers = {"X-Identity-Status": "Confirmed", "X-User-Id": f"user-{project}",
                   "X-Project-Id": project, "X-Roles": roles}
        return {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}

    alpha, beta = f"alpha{number}", f"beta{number}"
    return {
        "admin": of("operators", "admin,member,reader"),
        "alpha": of(alpha, "member,reader"),
        "alpha_reader": of(alpha, "reader"),
        "beta": of(beta, "member,reader"),
        "service": of("service", "admin,service,member,reader"),
        "only_service": of("service", "service"),
        "nobody": of(alpha, "guest"),
        "system": {"X-Identity-Status": "Confirmed", "X-User-Id": "root", "X-Roles": "admin,member,reader",
                   "OpenStack-System-Scope": "all"},
        "nowhere": {},
    }


class Peer:
    """One service with its table of symbols."""

    def __init__(self, service):
        self.service = service
        self.symbols = {}

    def fill(self, text):
        if "@" in text:
            for symbol, value in self.symbols.items():
                text = text.replace(symbol, value)
        return text

    def send(self, request, headers):
        body = request.payload()
        if body is not None and not isinstance(request.body, bytes):
            body = self.fill(body.decode()).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=TIMEOUT)
        try:
            chunked = request.headers.get("Transfer-Encoding") == "chunked"
            target = urllib.parse.quote(self.fill(request.path), safe="%/?&=:,;~!*'()$+@.-_")
            connection.putrequest(request.method, target, skip_accept_encoding=True)
            for name, value in {**headers, **request.headers}.items():
                connection.putheader(name, value)
            if body is not None and not chunked and "Content-Length" not in request.headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if chunked:
                connection.send((b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
            elif body:
                connection.send(body)
            got = connection.getresponse()
            answer = Answer(got.status, {name.lower(): value for name, value in got.getheaders()},
                            got.read())
        except (OSError, http.client.HTTPException) as error:
            answer = Answer(0, {}, repr(error).encode())
        finally:
            connection.close()
        if request.save and 200 <= answer.status < 300:
            document = answer.json()
            if isinstance(document, dict) and isinstance(document.get("id"), str):
                self.symbols[request.save] = document["id"]
        return answer
