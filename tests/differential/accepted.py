"""differences.toml: which differences are accepted, and why."""

import collections
import fnmatch
import re
import tomllib

KEYS = {"route", "field", "status", "reference", "node", "when", "sometimes", "reason"}


class Entry:
    """All of its keys must fit: `route` and `field` as shell patterns (several with " or " between
    them), `status` of the reference's answer as it is, the rest as regular
    expressions, of which `when` is searched in the request."""

    def __init__(self, table, feature=""):
        unknown = set(table) - KEYS
        if unknown or not table.get("reason"):
            raise ValueError(f"an entry with no reason or with unknown keys {sorted(unknown)}: {table}")
        self.table, self.feature, self.count = table, feature, 0
        self.patterns = {key: re.compile(table.get(key, ""), re.S) for key in ("reference", "node", "when")}

    def fits(self, route, line, status, difference):
        field, theirs, ours = difference
        return (self.table.get("status", status) == status
                and self.one_of("route", route) and self.one_of("field", field)
                and self.patterns["reference"].search(theirs) is not None
                and self.patterns["node"].search(ours) is not None
                and self.patterns["when"].search(line) is not None)

    def one_of(self, key, text):
        """Square brackets stand for themselves: `images[].name` is a field."""
        patterns = self.table.get(key, "*").replace("[", "[[]").split(" or ")
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)

    def name(self):
        kind = f"until {self.feature} is built" if self.feature else self.table["reason"].strip()
        return f"{self.table.get('route', '*')}, {self.table.get('field', '*')}: {kind}"


class Accepted:
    def __init__(self, path):
        with open(path, "rb") as file:
            document = tomllib.load(file)
        self.entries = [Entry(table) for table in document.pop("difference", [])]
        for feature, tables in document.pop("until_built", {}).items():
            self.entries += [Entry({"reason": "not built", **table}, feature) for table in tables]
        if document:
            raise ValueError(f"unknown sections: {sorted(document)}")

    def take(self, *of):
        """Whether an entry fits a difference; every one that does is counted."""
        fitting = [entry for entry in self.entries if entry.fits(*of)]
        for entry in fitting:
            entry.count += 1
        return bool(fitting)

    def unused(self):
        return [entry for entry in self.entries if entry.count == 0 and not entry.table.get("sometimes")]

    def by_feature(self):
        """How many differences were taken, by feature that is not built; "accepted" for the others."""
        counts = collections.Counter()
        for entry in self.entries:
            counts[f"until {entry.feature} is built" if entry.feature else "accepted"] += entry.count
        return counts
