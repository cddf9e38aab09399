"""Steps around images: records, PATCH, lists."""

import data
from wire import Request

PATCH_21 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
PATCH_20 = {"Content-Type": "application/openstack-images-v2.0-json-patch"}

FORMATS = ["raw", "qcow2", "iso", "vmdk", "ami", "ari", "aki", "gpt", "vhd", "RAW", "luks", "", None, 7]
CONTAINERS = ["bare", "ovf", "ami", "docker", "ova", "compressed", "BARE", "", None, 7]
VISIBILITIES = ["public", "private", "shared", "community", "all", "", None]
# Names and values: plain, empty, long, of other scripts, with what queries and pointers treat apart.
TEXTS = ["plain", "with space", "", "Ünï", "日本", "a,b", 'quo"te', "co:lon", "in:plain", "sl/ash", "ti~lde",
         "per%cent", "<b>&amp;", "x" * 255, "x" * 256, "astral \U0001f600", "nul\u0000", "line\nbreak"]
KEYS = ["hw_disk_bus", "os_distro", "kernel_id", "instance_uuid", "architecture", "foo", "Foo", "a b", "", "日本",
        "co:lon", "sl/ash", "ti~lde", "os_glance_x", "os_glance_importing_to_stores", "osglance", "x" * 255,
        "x" * 256, "trait:A", "stores", "img_signature", "astral\U0001f600", "description"]
READ_ONLY = ["created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self",
             "file", "schema", "os_hash_algo", "os_hash_value", "location", "deleted", "deleted_at",
             "locations", "stores"]
NUMBERS = [0, 1, 20, 512, 2**31 - 1, 2**31, -1, 1.5, "7", None, True]
TAGS = ["t1", "t2", "Ünï", "a,b", "", "x" * 255, "x" * 256, "sp ace", 7, None, "astral\U0001f600"]


def plausible(episode):
    """A document that is accepted."""
    document = {"name": episode.one(["one", "two", "Ünï", "with space", "co:lon"])}
    if episode.chance(0.8):
        document |= {"disk_format": episode.one(["raw", "qcow2", "ami", "iso"]), "container_format": "bare"}
        if document["disk_format"] == "ami":
            document["container_format"] = "ami"
    if episode.chance(0.3):
        document["visibility"] = episode.one(["private", "shared", "community"])
    if episode.chance(0.3):
        document["tags"] = episode.some(["t1", "t2", "Ünï", "a,b"])
    for key in episode.some(["hw_disk_bus", "os_distro", "foo", "co:lon", "trait:A"], 2):
        document[key] = episode.one(["scsi", "debian", "x y", ""])
    if episode.chance(0.2):
        document |= {"min_ram": episode.one([0, 20]), "min_disk": episode.one([0, 1])}
    if episode.chance(0.1):
        document["os_hidden"] = True
    if episode.chance(0.1):
        document["protected"] = True
    return document


def odd(episode, document):
    """Makes one or two things about it unusual or wrong."""
    for _ in range(episode.random.randint(1, 2)):
        key, values = episode.one([
            ("name", [*TEXTS, 7, ["x"], None]), ("disk_format", FORMATS), ("container_format", CONTAINERS),
            ("visibility", VISIBILITIES), ("protected", [True, False, "true", None, 1]),
            ("os_hidden", [True, False, "true", None]), ("min_disk", NUMBERS), ("min_ram", NUMBERS),
            ("owner", ["operators", f"beta{episode.number}", None, "", "x" * 256]),
            ("id", [episode.uuid().upper(), "x", "", None, 7, episode.uuid()[:-1]]),
            ("tags", [["t1", "t1"], "t1", [["t1"]], None, [episode.one(TAGS)], [str(n) for n in range(129)]]),
            (episode.one(READ_ONLY), ["x", 7, None, []]),
            (episode.one(KEYS), [*TEXTS, 7, True, None, ["x"], {"a": "b"}]),
            ("locations", [[], [{"url": "http://127.0.0.1:9/x", "metadata": {}}]]),
        ])
        document[key] = episode.one(values)
    return document


def create(episode, persona=None, odds=0.4, named=0.5):
    """`named`: how often the id is the client's, and so the same in both services."""
    document = plausible(episode)
    wrong = episode.chance(odds)
    if wrong:
        document = odd(episode, document)
    if "id" not in document and episode.chance(named):
        document["id"] = episode.uuid()
    return Request(persona or episode.persona(), "POST", "/v2/images", {}, document, save=episode.new_image())


def ensure(episode, count=1):
    """The first images of an episode are good ones."""
    while len(episode.images) < count:
        yield create(episode, "alpha", odds=0)


def show(episode, persona=None):
    return Request(persona or episode.persona(), "GET", f"/v2/images/{episode.image()}")


def record_step(episode):
    yield from ensure(episode)
    what = episode.random.choices(["create", "show", "delete", "patch", "again", "body"], [8, 4, 2, 4, 1, 1])[0]
    if what == "create":
        yield create(episode)
        yield Request("admin", "GET", f"/v2/images/{episode.images[-1]}")
    elif what == "show":
        yield show(episode)
    elif what == "delete":
        yield Request(episode.persona(), "DELETE", f"/v2/images/{episode.image()}")
    elif what == "patch":
        yield from patch(episode)
    elif what == "again":
        yield Request("alpha", "POST", "/v2/images", {}, {"id": episode.one(episode.images)})
    else:
        body = episode.one([b"", b"{", b"[]", b"null", b"7", b'"x"', b"[1]", b'{"name": NaN}', b'{"a": 1, "a": "b"}',
                            b"\xff\xfe", b'{"name": "\xff"}', b'{"min_ram": 1e3}', b'{"min_ram": 1e400}',
                            b'{"name": "\\ud800"}', b"{}", b' {"name":"x"} '])
        yield Request("alpha", "POST", "/v2/images", {"Content-Type": "application/json"}, body,
                      save=episode.new_image())


def pointer(text):
    return "/" + text.replace("~", "~0").replace("/", "~1")


def operation(episode):
    """One JSON-patch operation, right or wrong."""
    op = episode.random.choices(["replace", "add", "remove", "test", "move", "copy", "", 7, None],
                                [40, 30, 20, 2, 2, 2, 1, 1, 1])[0]
    key, values = episode.one([
        ("name", [*TEXTS, None, 7]), ("visibility", VISIBILITIES), ("min_ram", NUMBERS), ("min_disk", NUMBERS),
        ("protected", [True, False, "true"]), ("os_hidden", [True, False, "x"]), ("disk_format", FORMATS),
        ("container_format", CONTAINERS), ("owner", ["operators", f"beta{episode.number}", None]),
        ("tags", [["t1"], [], ["t1", "t1"], "t1", [7], [str(n) for n in range(129)]]),
        ("id", [episode.uuid()]), (episode.one(READ_ONLY), ["x", 7, None, [], {}]),
        (episode.one(KEYS), [*TEXTS, 7, None, ["x"]]), ("foo", ["bar", "baz"]), ("foo", ["bar", "baz"]),
        ("os_distro", ["debian", None]),
    ])
    path = pointer(key) if not episode.chance(0.06) else episode.one(
        ["", "/", "name", "//", "/a//b", "/foo/", "/foo/bar", "/tags/-", "/tags/0", "/~2", "/foo~", "/locations/-",
         "/locations/0", "/locations/1", "/locations", 7, None])
    document = {"op": op, "path": path}
    if op != "remove" or episode.chance(0.1):
        document["value"] = episode.one(values)
    if episode.chance(0.03):
        document.pop(episode.one(sorted(document)))
    return document


def patch(episode):
    headers, persona = PATCH_21, episode.persona() if episode.chance(0.5) else "alpha"
    body = [operation(episode) for _ in range(episode.random.choices([0, 1, 2, 3], [3, 60, 30, 7])[0])]
    if episode.chance(0.12):
        headers = PATCH_20
        body = [{step.get("op") or "add": step.get("path"), "value": step.get("value", "x")} for step in body
                if isinstance(step.get("op"), str)]
    elif episode.chance(0.06):
        body = episode.one([{}, {"op": "add"}, [1], ["x"], [[]], None, "x", 7, b"", b"[", b"[{}]", b"\xff"])
    elif episode.chance(0.05):
        headers = episode.one([{}, {"Content-Type": "application/json"}, {"Content-Type": "application/json-patch+json"},
                               {"Content-Type": PATCH_21["Content-Type"] + "; charset=utf-8"},
                               {"Content-Type": "application/openstack-images-v2.2-json-patch"},
                               {"Content-Type": PATCH_21["Content-Type"].upper()}])
    if body is None:
        body = b"null"
    image = episode.image()
    yield Request(persona, "PATCH", f"/v2/images/{image}", headers, body)
    if episode.chance(0.3):
        yield Request("admin", "GET", f"/v2/images/{image}")


def patch_step(episode):
    yield from ensure(episode, 3)
    yield from patch(episode)


FILTERS = {
    "name": ["one", "two", "in:one,two", 'in:"one","with space"', 'in:"one', "eq:one", "eq:co:lon", "co:lon", "neq:one",
             "in:", "%C3%9Cn%C3%AF", "", "gt:one"],
    "status": ["queued", "active", "in:queued,active", "eq:queued", "killed", "x", "saving", "deleted"],
    "id": ["@image0@", "in:@image0@,@image1@", "x", "eq:@image0@"],
    "container_format": ["bare", "in:bare,ami", "x"], "disk_format": ["raw", "in:raw,qcow2", "RAW"],
    "visibility": ["public", "private", "shared", "community", "all", "x", ""],
    "member_status": ["accepted", "pending", "rejected", "all", "x", ""],
    "owner": ["operators", "x", ""], "protected": ["true", "false", "True", "1", "x", ""],
    "os_hidden": ["true", "false", "True", "FALSE", "1", "x"],
    "size_min": ["0", "1", "x", "-1", "1.5", ""], "size_max": ["0", "100000", "x"],
    "min_ram_min": ["1", "20", "x"], "min_disk_max": ["0", "x"], "foo_min": ["3"],
    "min_ram": ["0", "20", "x"], "min_disk": ["0", "1"], "size": ["0", "x", "3"], "virtual_size": ["0"],
    "created_at": ["gt:2020-01-01T00:00:00Z", "lt:2020-01-01T00:00:00Z", "gte:2020-01-01", "x", "eq:x", "in:2020-01-01",
                   "neq:2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "gt:2020-01-01T00:00:00"],
    "updated_at": ["lte:2099-01-01T00:00:00+00:00", "gt:2099-01-01T00:00:00Z"],
    "tag": ["t1", "t2", "%C3%9Cn%C3%AF", "a,b", "x" * 256, ""], "foo": ["bar", "x%20y", ""], "hw_disk_bus": ["scsi"],
    "co:lon": ["x"], "changes-since": ["2020-01-01T00:00:00Z"], "deleted": ["true", "false"], "is_public": ["true"],
    "checksum": ["900150983cd24fb0d6963f7d28e17f72", "x"], "os_hash_value": ["x"], "os_hash_algo": ["sha512"],
    "limit": ["0", "1", "2", "1000", "1001", "-1", "x", "1.5", "", "99999999999999999999"],
    "marker": ["@image0@", "@image1@", "x", "", "2a2a2a2a-0000-4000-8000-000000000000"],
    "sort_key": ["name", "status", "size", "id", "created_at", "updated_at", "disk_format", "container_format", "x", "foo",
                 "", "owner", "min_ram", "virtual_size"],
    "sort_dir": ["asc", "desc", "x", "ASC", ""],
    "sort": ["name", "name:asc", "name:asc,size", "name:x", "x:asc", "name:asc:desc", ",", "", "status:desc,id:asc"],
}
# What pages are mostly asked with.
PAGING = ["limit", "marker", "sort_key", "sort_dir", "sort"]


def list_step(episode):
    if not episode.images:
        for number in range(5):
            yield create(episode, episode.one(["alpha", "alpha", "admin", "beta"]), odds=0.05, named=1)
        yield from data.upload(episode, "admin")
        yield Request("alpha", "POST", "/v2/images/@image0@/members", {}, {"member": f"beta{episode.number}"})
    names = episode.some(sorted(FILTERS), 2) + episode.some(PAGING, 3)
    parts = []
    for name in names:
        for _ in range(episode.random.choices([1, 2], [9, 1])[0]):
            parts.append(f"{name}={episode.one(FILTERS[name])}")
    query = "&".join(parts).replace(" ", "%20").replace('"', "%22")
    yield Request(episode.persona(), "GET", "/v2/images" + (f"?{query}" if query else ""))
    if episode.chance(0.15):
        yield Request(episode.persona(), "DELETE", f"/v2/images/{episode.image()}")
    if episode.chance(0.15):
        yield create(episode, named=1)
