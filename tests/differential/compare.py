"""Answers made comparable, and their differences as (field, reference's value, node's value)."""

import json
import re

# Of the others some are of the server in front (Date, Server), some are additions (ETag).
HEADERS = ["content-type", "location", "content-md5", "content-range", "allow", "accept-patch",
           "openstack-image-import-methods", "openstack-image-store-ids", "x-openstack-request-id",
           "www-authenticate"]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")
# Clock readings that are numbers.
CLOCKS = {"last_accessed", "last_modified"}
ABSENT = "(absent)"
# No more differences are reported of one answer.
MOST = 6


class Normalizer:
    """Replaces what no two services have in common: ids by order of appearance, times, places."""

    def __init__(self, peer):
        self.peer = peer
        # The reference shows ids as they were written, the node in lower case.
        self.known = {value.lower(): symbol for symbol, value in peer.symbols.items()}
        self.unknown = {}

    def text(self, text):
        text = text.replace(self.peer.service.url, "@base@").replace(self.peer.service.folder, "@folder@")
        text = text.replace(f"127.0.0.1:{self.peer.service.port}", "@host@")
        text = TIME.sub(lambda found: f"@time{'.micro' if found[1] else ''}{found[2] or ''}@", text)

        def name(found):
            value = found[0].lower()
            if value in self.known:
                return self.known[value]
            return self.unknown.setdefault(value, f"@uuid{len(self.unknown)}@")
        return UUID.sub(name, text)

    def value(self, value, key=""):
        if isinstance(value, dict):
            return {self.text(name): self.value(below, name) for name, below in value.items()}
        if isinstance(value, list):
            items = [self.value(below) for below in value]
            unordered = key == "tags" and all(isinstance(item, str) for item in items)
            return sorted(items) if unordered else items
        if isinstance(value, str):
            return self.text(value)
        if key in CLOCKS and isinstance(value, (int, float)):
            return "@clock@"
        return value

    def header(self, answer, name):
        value = answer.headers.get(name, ABSENT)
        if name == "allow" and value != ABSENT:
            return ",".join(sorted(part.strip() for part in value.split(",")))
        if name in ("x-openstack-request-id", "www-authenticate") and value != ABSENT:
            # The reference names what was asked, the node its identity service.
            return value.split("-")[0].split(" ")[0]
        if name == "content-type":
            return value.lower().replace(" ", "")
        return self.text(value)

    def body(self, answer):
        if answer.status >= 400:
            return self.refusal(answer)
        document = answer.json()
        if document is None:
            return answer.body.decode("latin-1")
        return self.value(document)

    def refusal(self, answer):
        """Of an error only the form: its words are each service's own."""
        document = answer.json()
        if isinstance(document, dict):
            return {name: "(text)" if name == "message" else value for name, value in document.items()}
        return "(text)" if answer.body.strip() else ""


def differences(left, right):
    """`left` and `right` are (normalizer, answer) of the reference and the node."""
    (ours, ours_answer), (theirs, theirs_answer) = right, left
    if theirs_answer.status != ours_answer.status:
        return [("status", str(theirs_answer.status), str(ours_answer.status))]
    found = []
    for name in HEADERS:
        pair = theirs.header(theirs_answer, name), ours.header(ours_answer, name)
        if pair[0] != pair[1]:
            found.append((f"header {name}", *pair))
    walk("body", theirs.body(theirs_answer), ours.body(ours_answer), found)
    # What decides first: the state of a record goes before what follows from it.
    return sorted(found, key=lambda one: not one[0].endswith("status"))[:MOST]


def walk(place, theirs, ours, found):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            walk(f"{place}.{key}", theirs.get(key, ABSENT), ours.get(key, ABSENT), found)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for one, other in zip(theirs, ours):
            walk(f"{place}[]", one, other, found)
    elif theirs != ours or type(theirs) is not type(ours):
        found.append((place, short(theirs), short(ours)))


def short(value):
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) < 300 else text[:300] + "..."
