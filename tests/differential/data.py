"""Steps around the data of images, and around who may see them."""

import struct

import images
from wire import Request

OCTETS = {"Content-Type": "application/octet-stream"}


def qcow2(backing=b""):
    header = bytearray(65536 * 4)
    struct.pack_into(">4sIQIIQIIQQIIQ", header, 0, b"QFI\xfb", 2, 512 if backing else 0, len(backing), 16, 1 << 20, 0, 1,
                     65536 * 3, 65536, 1, 0, 0)
    struct.pack_into(">Q", header, 65536, 65536 * 2)
    struct.pack_into(">4H", header, 65536 * 2, 1, 1, 1, 1)
    header[512:512 + len(backing)] = backing
    return bytes(header)


DATA = [b"abc", b"abc", b"abc", b"", b"\0" * 70000, qcow2(), qcow2(b"/etc/passwd"), b"x" * 100000]


def upload(episode, persona=None, image=None):
    headers, data = dict(OCTETS), episode.one(DATA)
    if episode.chance(0.1):
        headers["Transfer-Encoding"] = "chunked"
    if episode.chance(0.15):
        headers["x-image-meta-store"] = episode.one(["store1", "store2", "store9", ""])
    if episode.chance(0.1):
        headers["x-openstack-image-size"] = episode.one([str(len(data)), "3", "x", "-1", ""])
    if episode.chance(0.06):
        headers["Content-Type"] = episode.one(["text/plain", "application/json", "application/octet-stream; charset=utf-8"])
    yield Request(persona or episode.persona(), "PUT", f"/v2/images/{image or episode.image()}/file", headers, data)


RANGES = ["bytes=0-0", "bytes=1-", "bytes=-1", "bytes=-100000", "bytes=0-99999999", "bytes=3-", "bytes=5-2", "bytes=",
          "bytes=0-1,2-2", "lines=0-1", "bytes=x-y", "bytes=70000-", "bytes = 0-1", "BYTES=0-1", "bytes=-0", "bytes=1-1"]


def download(episode):
    headers, query = {}, ""
    if episode.chance(0.5):
        headers["Range"] = episode.one(RANGES)
    elif episode.chance(0.1):
        headers["Content-Range"] = episode.one(["bytes 0-1/*", "bytes 1-1/3", "bytes x/*", "bytes 0-99/*"])
    if episode.chance(0.1):
        query = "?prefer=" + episode.one(["store1", "store2", "store2,store1", "store9", ""])
    return Request(episode.persona(), "GET", f"/v2/images/{episode.image()}/file{query}", headers)


def data_step(episode):
    if not episode.images:
        yield from images.ensure(episode, 3)
        yield from upload(episode, "alpha", "@image0@")
    what = episode.random.choices(["upload", "download", "action", "show", "create", "store", "delete", "patch"],
                                  [6, 8, 4, 3, 2, 1, 1, 1])[0]
    if what == "upload":
        yield from upload(episode)
    elif what == "download":
        yield download(episode)
    elif what == "action":
        action = episode.one(["deactivate", "reactivate"])
        yield Request(episode.one(["admin", "alpha", "alpha", "alpha_reader", "beta"]), "POST",
                      f"/v2/images/{episode.image()}/actions/{action}")
    elif what == "show":
        yield images.show(episode)
    elif what == "create":
        yield images.create(episode, odds=0.1)
    elif what == "store":
        yield Request(episode.persona(), "DELETE",
                      f"/v2/stores/{episode.one(['store1', 'store2', 'store9'])}/{episode.image()}")
    elif what == "patch":
        yield from images.patch(episode)
    else:
        yield Request(episode.persona(), "DELETE", f"/v2/images/{episode.image()}")


def sharing_step(episode):
    yield from images.ensure(episode, 2)
    image, beta = episode.image(), f"beta{episode.number}"
    member = episode.random.choices([beta, f"alpha{episode.number}", "someone", "x" * 256, "a%20b", "%F0%9F%98%80"],
                                    [12, 2, 2, 1, 1, 1])[0]
    persona = episode.one(["alpha", "alpha", "admin", "beta", "beta", episode.persona()])
    path = f"/v2/images/{image}/members"
    what = episode.one(["add", "add", "list", "show", "decide", "decide", "remove", "image", "list images", "tag",
                        "untag", "visibility"])
    if what == "add":
        body = episode.random.choices([{"member": beta}, {"member": ""}, {}, [], {"member": None}, {"member": [beta]},
                                       {"member": "someone"}, {"member": beta, "status": "accepted"}, b"", b"{",
                                       {"member": "\U0001f600"}, {"member": "x" * 256}],
                                      [20] + [1] * 11)[0]
        yield Request(persona, "POST", path, {}, body)
    elif what == "list":
        yield Request(persona, "GET", path)
    elif what == "show":
        yield Request(persona, "GET", f"{path}/{member}")
    elif what == "decide":
        body = episode.random.choices([{"status": "accepted"}, {"status": "rejected"}, {"status": "pending"}, {},
                                       {"status": "x"}, {"status": None}, [], b"", {"status": ["accepted"]}],
                                      [9, 5, 5, 1, 1, 1, 1, 1, 1])[0]
        yield Request(persona, "PUT", f"{path}/{member}", {}, body)
    elif what == "remove":
        yield Request(persona, "DELETE", f"{path}/{member}")
    elif what == "image":
        yield Request(persona, "GET", f"/v2/images/{image}")
    elif what == "list images":
        yield Request(persona, "GET", "/v2/images" + episode.one(
            ["", "?visibility=shared", "?member_status=all", "?member_status=pending", "?visibility=shared&member_status=all"]))
    elif what in ("tag", "untag"):
        tag = episode.one(["t1", "t1", "t2", "%C3%9Cn", "a%2Fb", "a%20b", "x" * 255, "x" * 256, "%F0%9F%98%80", "a%00b"])
        yield Request(persona, "PUT" if what == "tag" else "DELETE", f"/v2/images/{image}/tags/{tag}")
    else:
        value = episode.one(["shared", "shared", "private", "community", "public"])
        yield Request(persona, "PATCH", f"/v2/images/{image}", images.PATCH_21,
                      [{"op": "replace", "path": "/visibility", "value": value}])
