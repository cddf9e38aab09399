"""The `openstack` command: every size, file and standard input, through the life of an image.

Arguments: base URL of the node, a folder for files.
"""

import http.server
import json
import os
import subprocess
import sys
import threading

import samples


class Identity(http.server.BaseHTTPRequestHandler):
    """As much of an identity service as `image add project` asks: a project of any name exists."""

    def do_GET(self):
        base = f"http://127.0.0.1:{self.server.server_port}"
        if "/projects/" in self.path:
            name = self.path.rsplit("/", 1)[1]
            body = {"project": {"id": name, "name": name, "enabled": True, "domain_id": "default"}}
        else:
            link = [{"rel": "self", "href": f"{base}/v3/"}]
            body = {"version": {"id": "v3.14", "status": "stable", "links": link}}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def main():
    base, folder = sys.argv[1:3]
    identity = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    threading.Thread(target=identity.serve_forever, daemon=True).start()
    clouds = {
        "clouds": {
            "node": {
                "auth_type": "none",
                "auth": {"endpoint": base},
                "image_endpoint_override": base,
                "identity_api_version": "3",
                "identity_endpoint_override": f"http://127.0.0.1:{identity.server_port}/v3",
            }
        }
    }
    config = os.path.join(folder, "clouds.yaml")
    with open(config, "w") as file:
        json.dump(clouds, file)  # JSON is YAML
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    environment.update(OS_CLIENT_CONFIG_FILE=config, OS_CLOUD="node")

    def run(*arguments, stdin=subprocess.DEVNULL, fails=False):
        command = [os.path.join(os.path.dirname(sys.executable), "openstack"), *arguments]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, env=environment)
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    def run_json(*arguments, **options):
        return json.loads(run(*arguments, "-f", "json", **options))

    def life(size, chunked):
        path = samples.make(folder, size)
        name = f"cli-{size}-{'chunked' if chunked else 'file'}"
        create = ["image", "create", name, "--disk-format", "ami", "--container-format", "bare",
                  "--property", "hw_disk_bus=scsi", "--tag", "blue"]
        if chunked:
            with open(path, "rb") as file:
                created = run_json(*create, stdin=file)
        else:
            created = run_json(*create, "--file", path)
        image_id = created["id"]
        shown = run_json("image", "show", image_id)
        samples.check_image(shown, path)
        assert shown["properties"]["hw_disk_bus"] == "scsi", shown
        listed = run_json("image", "list", "--name", name, "--tag", "blue")
        assert [row["ID"] for row in listed] == [image_id], listed
        saved = os.path.join(folder, "saved")
        run("image", "save", "--file", saved, image_id)
        samples.check_same(path, saved)
        os.remove(saved)
        return image_id

    def set_and_share(image_id):
        run("image", "set", image_id, "--name", "renamed", "--property", "os_distro=debian",
            "--tag", "green", "--min-ram", "512", "--protected")
        run("image", "unset", image_id, "--property", "hw_disk_bus", "--tag", "blue")
        shown = run_json("image", "show", image_id)
        assert shown["name"] == "renamed" and shown["min_ram"] == 512, shown
        assert shown["properties"]["os_distro"] == "debian", shown
        assert "hw_disk_bus" not in shown["properties"] and shown["tags"] == ["green"], shown
        run("image", "delete", image_id, fails=True)
        run("image", "set", image_id, "--unprotected")
        run("image", "add", "project", image_id, "someone")
        run("image", "set", image_id, "--accept", "--project", "someone")
        members = run_json("image", "member", "list", image_id)
        rows = [(row["Member ID"], row["Status"]) for row in members]
        assert rows == [("someone", "accepted")], members
        run("image", "remove", "project", image_id, "someone")
        assert run_json("image", "member", "list", image_id) == []
        run("image", "set", image_id, "--deactivate")
        assert run_json("image", "show", image_id)["status"] == "deactivated"
        run("image", "set", image_id, "--activate")
        run("image", "set", image_id, "--community")
        assert run_json("image", "show", image_id)["visibility"] == "community"

    kept = []
    for size in samples.SIZES:
        kept.append(life(size, chunked=False))
        if size in (0, samples.MIB + 1, 300 * samples.MIB):
            kept.append(life(size, chunked=True))
        print(f"openstack: {size} bytes", flush=True)
    set_and_share(kept[1])
    run("image", "delete", *kept)
    assert run_json("image", "list") == []
    run("image", "show", kept[0], fails=True)


main()
