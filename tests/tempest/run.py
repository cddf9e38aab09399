"""Tempest's image tests against a node that a real Keystone identifies the callers for.

    run.py --node BINARY --keystone PYTHON --work FOLDER [--suite NAME]...

Run it with the Python of an environment that has tempest; PYTHON is one that has keystone and waitress.
Suites: `tempest` (settings like the reference's own), `tempest-lax` (neither hashing of locations nor a
match of formats asked for), `tempest-formats` (images of every format, and their conversion).
"""

import argparse
import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import disks
import identities
import nodes
import verdict

HERE = os.path.dirname(os.path.abspath(__file__))
# Tests at once, and how long an image may take to get into a state.
CONCURRENCY, BUILD_TIMEOUT = 2, 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(command, log, ready, **how):
    """A process that runs until the end of the block, which begins when it answers at `ready`."""
    with open(log, "ab") as output:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, **how)
    try:
        deadline = time.monotonic() + 60
        while True:
            if child.poll() is not None or time.monotonic() > deadline:
                with open(log, errors="replace") as text:
                    sys.exit(f"{command[0]} did not start:\n{text.read()[-3000:]}")
            try:
                with urllib.request.urlopen(ready, timeout=5):
                    break
            except urllib.error.HTTPError as error:
                if error.code in (300, 401):
                    break
            except OSError:
                pass
            time.sleep(0.1)
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def keystone(python, work):
    """A fresh Keystone; its URL."""
    folder, port = os.path.join(work, "keystone"), free_port()
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    script = os.path.join(HERE, "..", "keystone", "serve_keystone.py")
    subprocess.run([python, script, "prepare", folder], check=True, capture_output=True)
    url = f"http://127.0.0.1:{port}/v3"
    # Tempest makes and removes users all the time: of two writers one would find the database locked.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with process([python, script, "serve", folder, str(port)], os.path.join(folder, "output"), url, env=environment):
        yield url


@contextlib.contextmanager
def files(folder):
    """A web server of the folder; its URL."""
    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


TEMPEST = """
[DEFAULT]
log_file = {work}/tempest.log
[auth]
use_dynamic_credentials = true
admin_username = admin
admin_password = {password}
admin_project_name = admin
admin_domain_name = Default
tempest_roles = member
[identity]
auth_version = v3
uri_v3 = {keystone}
region = {region}
default_domain_id = default
[identity-feature-enabled]
api_v2 = false
[service_available]
glance = true
# Lets the format tests past the check for a compute service, which they then do not ask.
nova = {formats}
neutron = false
cinder = false
swift = false
horizon = false
[enforce_scope]
glance = true
keystone = true
[image]
region = {region}
http_image = {web}/disk.raw
http_qcow2_image = {web}/disk.qcow2
container_formats = bare,ami,ari,aki,ovf,ova
disk_formats = qcow2,raw,ami,ari,aki,vhd,vmdk,vdi,iso,vhdx
image_caching_enabled = true
build_timeout = {timeout}
{manifest}
[image-feature-enabled]
import_image = true
os_glance_reserved = true
manage_locations = true
http_store_enabled = true
store_weight_enabled = true
image_conversion = {formats}
do_secure_hash = {strict}
image_format_enforcement = {strict}
[oslo_concurrency]
lock_path = {work}/lock
"""


def tempest(work, suite, keystone_url, web, regex):
    """One run of Tempest; its subunit stream."""
    folder, home = os.path.join(work, suite), os.path.join(work, "home")
    for old in (folder, home):
        shutil.rmtree(old, ignore_errors=True)
    os.makedirs(home)
    bin_folder = os.path.dirname(sys.executable)
    # It keeps a list of its folders below the home of who runs it.
    environment = {**os.environ, "HOME": home, "PYTHONPATH": os.path.join(HERE, "site"), "PYTHONWARNINGS": "ignore",
                   "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([os.path.join(bin_folder, "tempest"), "init", folder], check=True, capture_output=True, env=environment)
    os.makedirs(os.path.join(folder, "lock"))
    formats = suite == "tempest-formats"
    manifest = f"images_manifest_file = {work}/web/manifest.yml" if formats else ""
    with open(os.path.join(folder, "etc", "tempest.conf"), "w") as file:
        file.write(TEMPEST.format(work=folder, password=identities.ADMIN_PASSWORD, region=identities.REGION,
                                  keystone=keystone_url, web=web, timeout=BUILD_TIMEOUT, manifest=manifest,
                                  formats=str(formats).lower(), strict=str(suite != "tempest-lax").lower()))
    command = [os.path.join(bin_folder, "tempest"), "run", "--regex", regex, "--concurrency", str(CONCURRENCY), "--subunit"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    if not done.stdout:
        sys.exit(f"tempest did not run:\n{done.stderr.decode(errors='replace')[-3000:]}")
    with open(os.path.join(work, suite + ".subunit"), "wb") as file:
        file.write(done.stdout)
    return done.stdout


SUITES = {"tempest": r"^tempest\.api\.image", "tempest-lax": r"^tempest\.api\.image",
          "tempest-formats": "test_images_formats"}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--node", required=True)
    options.add_argument("--keystone", required=True)
    options.add_argument("--work", required=True)
    options.add_argument("--suite", action="append", choices=list(SUITES))
    options.add_argument("--regex", help="of the tests to run, instead of the suite's own")
    options = options.parse_args()
    work = os.path.abspath(options.work)
    os.makedirs(work, exist_ok=True)
    disks.make(os.path.join(work, "web"))
    good = True
    with keystone(os.path.abspath(options.keystone), work) as url, files(os.path.join(work, "web")) as web:
        for suite in options.suite or SUITES:
            port, admin = free_port(), free_port()
            image_url = f"http://127.0.0.1:{port}"
            identity = identities.Identity(url)
            identity.seed(image_url)
            config, environment = nodes.configure(work, suite, options.node, url, port, admin)
            log = os.path.join(os.path.dirname(config), "output.log")
            with process([options.node, "serve", "--config", config], log, f"http://127.0.0.1:{admin}/ready",
                         env={**os.environ, **environment}):
                regex = options.regex or SUITES[suite]
                identity.define(image_url)
                stream = tempest(work, suite, url, web, regex)
            good = verdict.judge(suite, stream, regex) and good
    sys.exit(not good)


if __name__ == "__main__":
    main()
