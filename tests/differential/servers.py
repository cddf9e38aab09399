"""The two services under comparison, each in a process of its own on a free port of loopback: the
reference from the Python package index, and the node.

Both believe identity headers (the reference by its own pipeline without the token filter), have two
file stores of the same names and weights, and show locations.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

DISK_FORMATS = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt"]
METHODS = ["glance-direct", "web-download", "copy-image"]

REFERENCE = """
[DEFAULT]
log_file = {d}/reference.log
enabled_backends = store1:file,store2:file
enabled_import_methods = [{methods}]
show_multiple_locations = true
show_image_direct_url = true
worker_self_reference_url = {url}
image_cache_dir = {d}/cache
[database]
connection = sqlite:///{d}/reference.db?timeout=30
[glance_store]
default_backend = store1
[store1]
filesystem_store_datadir = {d}/store1
weight = 100
[store2]
filesystem_store_datadir = {d}/store2
weight = 50
[os_glance_staging_store]
filesystem_store_datadir = {d}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {d}/tasks
[import_filtering_opts]
allowed_hosts = [127.0.0.1]
allowed_ports = []
[wsgi]
python_interpreter = {python}
[paste_deploy]
flavor = cachemanagement
[image_format]
disk_formats = {disk_formats}
[oslo_policy]
policy_file = {d}/etc/policy.yaml
[oslo_concurrency]
lock_path = {d}/lock
"""

NODE = """
[node]
data_dir = "{d}/data"
keep_free = "0B"
[api]
listen = "127.0.0.1:{port}"
show_image_direct_url = true
show_multiple_locations = true
[admin]
listen = "127.0.0.1:{admin}"
[auth]
mode = "trusted-headers"
[cache]
size = "64MiB"
keep_free = "0B"
legacy_api = true
[image_format]
disk_formats = [{disk_formats}]
[import.uri_filter]
allowed_hosts = ["127.0.0.1"]
allowed_ports = []
[[stores]]
name = "store1"
type = "file"
path = "{d}/store1"
default = true
weight = 100
[[stores]]
name = "store2"
type = "file"
path = "{d}/store2"
weight = 50
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A started process. `name` is for messages, `folder` what answers must not be compared by."""

    def __init__(self, name, folder, port):
        self.name, self.folder, self.port = name, folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.process = None

    def start(self, command, ready, **environment):
        log = open(os.path.join(self.folder, "output.log"), "ab")
        self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log,
                                        env={**os.environ, **environment})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(ready, timeout=5):
                    return self
            except OSError:
                time.sleep(0.1)
        self.stop()
        sys.exit(f"{self.name} did not start:\n{self.tail()}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tail(self):
        with open(os.path.join(self.folder, "output.log"), errors="replace") as log:
            return log.read()[-3000:]


def fresh(folder, *below):
    shutil.rmtree(folder, ignore_errors=True)
    for name in below or ("",):
        os.makedirs(os.path.join(folder, name))
    return folder


def defined_properties(service):
    """The definitions of custom properties that a node has without a file of them; the reference's
    package has none."""
    request = urllib.request.Request(service.url + "/v2/schemas/image",
                                     headers={"X-Identity-Status": "Confirmed", "X-Roles": "reader"})
    with urllib.request.urlopen(request) as answer:
        properties = json.load(answer)["properties"]
    return {name: {key: value for key, value in one.items() if key != "is_base"}
            for name, one in properties.items() if one.get("is_base") is False}


def reference(folder, venv, properties):
    """The reference on SQLite, one process with one thread."""
    folder = fresh(folder, "etc", "store1", "store2", "staging", "tasks", "cache")
    service = Service("reference", folder, free_port())
    config = os.path.join(folder, "etc", "glance-api.conf")
    python = os.path.join(venv, "bin", "python")
    with open(config, "w") as file:
        file.write(REFERENCE.format(d=folder, url=service.url, python=python,
                                    methods=",".join(METHODS), disk_formats=",".join(DISK_FORMATS)))
    with open(os.path.join(folder, "etc", "policy.yaml"), "w") as file:
        file.write("{}\n")
    with open(os.path.join(folder, "etc", "schema-image.json"), "w") as file:
        json.dump(properties, file)
    # The filter that reads the headers which the token filter would have set.
    with open(os.path.join(venv, "etc/glance/glance-api-paste.ini")) as file:
        paste = file.read().replace("unauthenticated-context ", "context ").replace("osprofiler ", "")
    with open(os.path.join(folder, "etc", "glance-api-paste.ini"), "w") as file:
        file.write(paste.replace("/etc/glance/healthcheck_disable", os.path.join(folder, "disable")))
    manage = [os.path.join(venv, "bin", "glance-manage"), "--config-file", config]
    subprocess.run([*manage, "db_sync"], check=True, capture_output=True)
    command = [os.path.join(venv, "bin", "uwsgi"), "--http", f"127.0.0.1:{service.port}",
               "--http-chunked-input", "--http-auto-chunked", "--http-raw-body",
               "--module", "glance.wsgi.api:application", "--master", "--die-on-term",
               "--processes", "1", "--threads", "1", "--enable-threads", "--lazy-apps", "--need-app",
               "--buffer-size", "65535", "--add-header", "Connection: close", "--disable-logging",
               "--virtualenv", venv]
    return service.start(command, service.url + "/healthcheck",
                         OS_GLANCE_CONFIG_DIR=os.path.join(folder, "etc"))


def node(folder, binary):
    """The node, as far as it can be configured like the reference."""
    folder = fresh(folder, "store1", "store2")
    service = Service("node", folder, free_port())
    admin = free_port()
    config = os.path.join(folder, "glimpse.toml")
    with open(config, "w") as file:
        formats = ", ".join(f'"{name}"' for name in DISK_FORMATS)
        file.write(NODE.format(d=folder, port=service.port, admin=admin, disk_formats=formats))
    return service.start([binary, "serve", "--config", config], f"http://127.0.0.1:{admin}/ready")
