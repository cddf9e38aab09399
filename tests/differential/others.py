"""Steps beside images: discovery, the protocol itself, definitions, tasks, imports, locations, cache."""

import data
import images
from wire import Request

SCHEMAS = ["image", "images", "member", "members", "task", "tasks", "x", "metadefs/namespace", "metadefs/namespaces",
           "metadefs/resource_type", "metadefs/resource_types", "metadefs/property", "metadefs/properties",
           "metadefs/object", "metadefs/objects", "metadefs/tag", "metadefs/tags", "metadefs/x", "metadefs"]
ACCEPTS = [{}, {}, {"Accept": "application/json"}, {"Accept": "*/*"}, {"Accept": "text/html"}, {"Accept": "text/plain"},
           {"Accept": "application/json, */*"}, {"Accept": "image/png"}, {"Accept": "text/html;q=0.1, application/json"}]


def discovery_step(episode):
    path = episode.one([
        "/v2/info/import", "/v2/info/stores", "/v2/info/stores/detail", "/v2/info/usage", "/", "/versions", "/versions/",
        "/v2", "/v2/", "/v1", "/v3/images", "/v2.0/images", "/v2.18/images", "/v2.19/images", "/v2.99/images", "/healthcheck",
        "/v2.0", "/V2/images", "//v2/images", "/v2/images/", "/v2/schemas/image/", "/v2//images", "/nothing",
        *(f"/v2/schemas/{name}" for name in SCHEMAS)])
    yield Request(episode.persona(), "GET", path, episode.one(ACCEPTS))


def protocol_step(episode):
    """Methods that a resource has not, bodies where there are none, Accept, odd paths."""
    yield from images.ensure(episode)
    image = episode.image()
    path = episode.one([
        "/v2/images", f"/v2/images/{image}", f"/v2/images/{image}/file", f"/v2/images/{image}/stage",
        f"/v2/images/{image}/import", f"/v2/images/{image}/tasks", f"/v2/images/{image}/locations",
        f"/v2/images/{image}/actions/deactivate", f"/v2/images/{image}/tags/t1", f"/v2/images/{image}/members",
        f"/v2/images/{image}/members/m", f"/v2/stores/store1/{image}", "/v2/schemas/image", "/v2/info/import",
        "/v2/info/stores", "/v2/info/stores/detail", "/v2/info/usage", "/v2/tasks", f"/v2/tasks/{episode.uuid()}", "/v2/cache",
        f"/v2/cache/{image}", "/v2/cache/clean", "/v2/cache/prune", f"/v2/cache/nodes/{image}", "/v2/cached_images", f"/v2/queued_images/{image}",
        "/v2/metadefs/namespaces", "/v2/metadefs/resource_types", "/v2/metadefs/namespaces/N",
        "/v2/metadefs/namespaces/N/objects", "/v2/metadefs/namespaces/N/objects/o",
        "/v2/metadefs/namespaces/N/properties", "/v2/metadefs/namespaces/N/properties/p",
        "/v2/metadefs/namespaces/N/tags", "/v2/metadefs/namespaces/N/tags/t",
        "/v2/metadefs/namespaces/N/resource_types", "/v2/metadefs/namespaces/N/resource_types/r",
        "/", "/versions", "/healthcheck", "/v2/x", f"/v2/images/{image}/x", "/v2/images/%2e%2e/x",
        f"/v2/images/{image}/tags/a%2Fb", f"/v2/images/{image}/%66ile", f"/v2/images/{image}?x=%ff"])
    method = episode.one(["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
    headers, body = dict(episode.one(ACCEPTS)), None
    if episode.chance(0.25):
        body = episode.one([b"x", b"{}", b""])
    if episode.chance(0.1):
        headers["X-Openstack-Request-ID"] = episode.one(["req-mine", "mine", "y" * 65, "y" * 60])
    yield Request(episode.one(["admin", "alpha", "alpha", episode.persona()]), method, path, headers, body)


PROPERTY = {"name": "p1", "title": "P", "type": "string"}


def metadef_step(episode):
    known = episode.names["namespaces"]
    if not known:
        known.append(f"NS{episode.number}a")
        yield Request("admin", "POST", "/v2/metadefs/namespaces", {},
                      {"namespace": known[0], "visibility": episode.one(["public", "private"]),
                       "owner": f"alpha{episode.number}"})
    namespace = episode.one([*known, *known, *known, "nowhere"])
    base = f"/v2/metadefs/namespaces/{namespace}"
    persona = episode.random.choices(["admin", "alpha", "beta", episode.persona()], [10, 3, 2, 2])[0]
    what = episode.one(["create", "list", "show", "update", "delete", "object", "object", "property", "property", "tag",
                        "tags", "type", "type", "types"])
    name = episode.one(["a", "a", "b", "Ü%20x"])
    write = episode.one(["GET", "GET", "POST", "POST", "PUT", "DELETE", "LIST", "LIST", "CLEAR"])
    if what == "create":
        new = episode.one([f"NS{episode.number}b", f"NS{episode.number}c", f"NS{episode.number} d", "x" * 81, None, 7])
        document = {"namespace": new}
        if isinstance(new, str) and len(new) < 81 and new not in known:
            known.append(new)
        for key, values in [("visibility", ["public", "private", "x"]), ("protected", [True, False, "x"]),
                            ("owner", [f"alpha{episode.number}", "x"]), ("display_name", ["D", "x" * 81]),
                            ("description", ["d", "x" * 501]), ("x", ["y"]), ("self", ["/x"]), ("created_at", ["x"]),
                            ("properties", [{"p1": {"title": "P", "type": "string"}}, {"p1": {}}, []]),
                            ("objects", [[{"name": "o1", "properties": {"q": {"title": "Q", "type": "integer"}}}], [{}]]),
                            ("tags", [[{"name": "t1"}], [{"name": "t1"}, {"name": "t1"}]]),
                            ("resource_type_associations", [[{"name": "OS::Glance::Image", "prefix": "hw_"}], [{}]])]:
            if episode.chance(0.2):
                document[key] = episode.one(values)
        yield Request(persona, "POST", "/v2/metadefs/namespaces", {}, document)
    elif what == "list":
        query = "&".join(episode.some(["visibility=public", "visibility=x", "limit=1", "limit=0", "limit=x", "limit=-1",
                                       f"marker={known[0]}", "marker=x", "sort_key=namespace", "sort_key=x", "sort_dir=asc",
                                       "sort_dir=x", "resource_types=OS::Glance::Image", "sort_key=created_at"], 2))
        yield Request(persona, "GET", f"/v2/metadefs/namespaces?{query}")
    elif what == "show":
        yield Request(persona, "GET", base + episode.one(["", "", "?resource_type=OS::Glance::Image", "?resource_type=x"]))
    elif what == "update":
        document = {"namespace": namespace, "visibility": episode.one(["public", "private"])}
        for key, values in [("protected", [True, False]), ("description", ["d", 7]), ("owner", ["x"]), ("x", ["y"])]:
            if episode.chance(0.2):
                document[key] = episode.one(values)
        yield Request(persona, "PUT", base, {}, document)
    elif what == "delete":
        yield Request(persona, "DELETE", base)
    elif what == "object":
        document = {"name": name, **episode.one([{}, {"description": "d"}, {"required": ["q"]}, {"x": 1},
                    {"properties": {"q": {"title": "Q", "type": episode.one(["string", "integer", "x", "array"])}}}])}
        yield part(persona, base, "objects", write, name, document)
    elif what == "property":
        document = {**PROPERTY, "name": name}
        for key, values in [("type", ["integer", "array", "boolean", "x", "number"]), ("enum", [["a"], "a", []]),
                            ("minimum", [1, "x"]), ("maximum", [9]), ("minLength", [1, -1]), ("default", ["a", 1]),
                            ("pattern", ["^a"]), ("operators", [["<in>"], "x"]), ("readonly", [True, "x"]), ("x", [1]),
                            ("items", [{"type": "string", "enum": ["a"]}, {"type": "x"}]), ("uniqueItems", [True]),
                            ("confidential", [True]), ("additionalItems", [True]), ("title", ["", 7])]:
            if episode.chance(0.12):
                document[key] = episode.one(values)
        query = episode.one(["", "", "?resource_type=OS::Glance::Image", "?resource_type=x"]) if write == "GET" else ""
        yield part(persona, base, "properties", write, name, document, query)
    elif what == "tag":
        yield part(persona, base, "tags", episode.one(["GET", "ITEM", "PUT", "DELETE", "LIST"]), name,
                   {"name": episode.one([name, "c"])})
    elif what == "tags":
        headers = episode.one([{}, {}, {"X-Openstack-Append": "True"}])
        tags = episode.one([[{"name": "a"}, {"name": "b"}], [{"name": "d"}], [], [{"name": "a"}, {"name": "a"}], [{}]])
        yield Request(persona, "POST", base + "/tags", headers, {"tags": tags})
        query = "&".join(episode.some(["limit=1", "limit=x", "marker=a", "marker=x", "sort_key=name", "sort_dir=asc"], 2))
        yield Request(persona, "GET", f"{base}/tags?{query}")
    elif what == "type":
        kind = episode.one(["OS::Glance::Image", "OS::Nova::Flavor", f"Type{episode.number}", "x" * 81, ""])
        if write in ("POST", "PUT"):
            document = {"name": kind, **episode.one([{}, {"prefix": "hw_"}, {"properties_target": "image"}, {"x": 1}])}
            yield Request(persona, "POST", base + "/resource_types", {}, document)
        elif write == "DELETE":
            yield Request(persona, "DELETE", f"{base}/resource_types/{kind or 'x'}")
        else:
            yield Request(persona, "GET", base + "/resource_types")
    else:
        yield Request(persona, "GET", "/v2/metadefs/resource_types")


def part(persona, base, kind, write, name, document, query=""):
    collection, item = f"{base}/{kind}", f"{base}/{kind}/{name}{query}"
    if write == "LIST":
        return Request(persona, "GET", collection)
    if write == "CLEAR":
        return Request(persona, "DELETE", collection)
    if write == "POST":
        return Request(persona, "POST", collection, {}, document)
    if write == "ITEM":
        return Request(persona, "POST", item)
    return Request(persona, write, item, {}, document if write == "PUT" else None)


def task_step(episode):
    persona = episode.one(["admin", "admin", "alpha", episode.persona()])
    what = episode.one(["list", "list", "create", "create", "show", "delete"])
    known = episode.names["task"]
    if what == "list":
        query = "&".join(episode.some(["status=pending", "status=x", "type=import", "type=x", "owner=x", "limit=1", "limit=0",
                                       "limit=x", "marker=x", "sort_key=created_at", "sort_key=x", "sort_dir=asc", "sort_dir=x"], 2))
        yield Request(persona, "GET", f"/v2/tasks?{query}")
    elif what == "create":
        good = {"import_from": "file:///etc/passwd", "import_from_format": "raw",
                "image_properties": {"disk_format": "raw", "container_format": "bare"}}
        document = episode.one([
            {"type": "import", "input": good}, {"type": "import", "input": {}}, {"type": "x", "input": good},
            {"type": "import", "input": {**good, "import_from": "http://127.0.0.1:9/x"}}, {"type": "import"},
            {"type": "import", "input": {**good, "import_from": "http://169.254.169.254/"}}, [], {}, {"x": 1},
            {"type": "api_image_import", "input": {}}, {"type": "import", "input": good, "status": "success"}])
        symbol = f"@task{len(known)}@"
        known.append(symbol)
        yield Request(persona, "POST", "/v2/tasks", {}, document, save=symbol)
    else:
        task = episode.one([*known, episode.uuid(), "x"])
        yield Request(persona, "GET" if what == "show" else "DELETE", f"/v2/tasks/{task}")


def import_step(episode):
    yield from images.ensure(episode, 2)
    image, persona = episode.image(), episode.one(["alpha", "alpha", "admin", episode.persona()])
    what = episode.one(["stage", "stage", "direct", "direct", "download", "copy", "odd", "tasks", "show", "create", "delete"])
    more = episode.one([{}, {}, {}, {"stores": ["store2"]}, {"stores": ["store9"]}, {"all_stores": True},
                        {"all_stores": True, "stores": ["store1"]}, {"all_stores_must_succeed": False},
                        {"all_stores_must_succeed": "x"}, {"all_stores": "x"}, {"stores": []}, {"stores": "store1"}])
    method = None
    if what == "stage":
        yield Request(persona, "PUT", f"/v2/images/{image}/stage", data.OCTETS, episode.one([b"abc", b"", b"abc"]))
        return
    if what == "direct":
        method = {"name": "glance-direct"}
    elif what == "download":
        method = {"name": "web-download", "uri": episode.one([
            "ftp://127.0.0.1/x", "http://2130706433/x", "http://169.254.169.254/x", "http://[::ffff:127.0.0.1]/x", "x", "", None,
            "file:///etc/passwd", "http://127.0.0.1:9/x"])}
    elif what == "copy":
        method = {"name": "copy-image"}
    elif what == "odd":
        method = episode.one([{}, {"name": "x"}, None, "glance-direct", {"name": "glance-download"}, {"name": ["x"]},
                              {"name": "glance-download", "glance_region": "x", "glance_image_id": "y"}])
    if method is not None or what == "odd":
        yield Request(persona, "POST", f"/v2/images/{image}/import", {}, {"method": method, **more})
        yield Request("admin", "GET", f"/v2/images/{image}", until_not=("importing",))
    elif what == "tasks":
        yield Request(persona, "GET", f"/v2/images/{image}/tasks")
    elif what == "create":
        yield images.create(episode, "alpha", odds=0.1)
    elif what == "delete":
        yield Request(persona, "DELETE", f"/v2/images/{image}")
    else:
        yield Request(persona, "GET", f"/v2/images/{image}")


def location_step(episode):
    if not episode.images:
        yield from images.ensure(episode, 3)
        yield from data.upload(episode, "alpha", "@image0@")
    image, persona = episode.image(), episode.one(["alpha", "admin", "service", "only_service", episode.persona()])
    urls = ["http://127.0.0.1:9/x", "file:///etc/passwd", "http://169.254.169.254/x", "swift+config://a/b/c", "x", "",
            "filesystem:///x", "ftp://x/y", "s3://a:b@h/b/k"]
    what = episode.one(["list", "list", "add", "add", "patch", "patch", "show", "store"])
    hashes = episode.one([{}, {"validation_data": {"os_hash_algo": "sha512", "os_hash_value": "a" * 128}},
                          {"validation_data": {"os_hash_algo": "sha512", "os_hash_value": "zz"}},
                          {"validation_data": {"os_hash_algo": "x", "os_hash_value": "a" * 128}},
                          {"validation_data": {"os_hash_algo": "sha512"}}, {"validation_data": {}}, {"metadata": {}}])
    if what == "list":
        yield Request(persona, "GET", f"/v2/images/{image}/locations")
    elif what == "add":
        yield Request(persona, "POST", f"/v2/images/{image}/locations", {},
                      episode.one([{"url": episode.one(urls), **hashes}, {}, [], {"url": None}, {"url": "x", "y": 1}]))
        yield Request("admin", "GET", f"/v2/images/{image}", until_not=("importing",))
    elif what == "patch":
        location = {"url": episode.one(urls), "metadata": {}, **hashes}
        step = episode.one([{"op": "add", "path": "/locations/-", "value": location},
                            {"op": "add", "path": "/locations/0", "value": location},
                            {"op": "replace", "path": "/locations", "value": episode.one([[], [location], [location, location]])},
                            {"op": "remove", "path": "/locations/0"}, {"op": "remove", "path": "/locations/1"},
                            {"op": "add", "path": "/locations", "value": [location]},
                            {"op": "remove", "path": "/locations"}, {"op": "add", "path": "/locations/-", "value": "x"},
                            {"op": "replace", "path": "/locations/0", "value": location}])
        yield Request(persona, "PATCH", f"/v2/images/{image}", images.PATCH_21, [step])
    elif what == "store":
        yield Request(persona, "DELETE", f"/v2/stores/{episode.one(['store1', 'store2', 'store9'])}/{image}")
    else:
        yield Request(persona, "GET", f"/v2/images/{image}")


def cache_step(episode):
    if not episode.images:
        yield from images.ensure(episode, 2)
        yield from data.upload(episode, "alpha", "@image0@")
    image, persona = episode.image(), episode.one(["admin", "admin", "alpha", episode.persona()])
    method, path, headers = episode.one([
        ("GET", "/v2/cache", {}), ("GET", "/v2/cache", {}), ("PUT", f"/v2/cache/{image}", {}),
        ("DELETE", f"/v2/cache/{image}", {}), ("GET", f"/v2/cache/nodes/{image}", {}), ("POST", "/v2/cache/clean", {}),
        ("POST", "/v2/cache/prune", {}), ("DELETE", "/v2/cache", {"x-image-cache-clear-target": "cache"}),
        ("DELETE", "/v2/cache", {"x-image-cache-clear-target": "queue"}), ("DELETE", "/v2/cache", {}),
        ("DELETE", "/v2/cache", {"x-image-cache-clear-target": "x"}), ("GET", f"/v2/images/{image}/file", {}),
        ("GET", "/v2/cached_images", {}), ("DELETE", "/v2/cached_images", {}),
        ("DELETE", f"/v2/cached_images/{image}", {}), ("GET", "/v2/queued_images", {}),
        ("DELETE", "/v2/queued_images", {}), ("PUT", f"/v2/queued_images/{image}", {}),
        ("DELETE", f"/v2/queued_images/{image}", {})])
    yield Request(persona, method, path, headers)
