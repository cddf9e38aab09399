"""The node's configuration: `glimpse config from-glance` makes it of a file like the reference's own.

What such a file does not say (where the node keeps its registry, how large its cache is) comes by the
environment, which goes before the file.
"""

import os
import shutil
import subprocess
import sys

import identities

# The exit code of a conversion that left something out that changes what the node does.
LOST = 3

GLANCE = """
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
enabled_backends = store1:file,store2:file,web:http
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
show_multiple_locations = true
show_image_direct_url = true
worker_self_reference_url = {url}
public_endpoint = {url}
image_cache_dir = {folder}/cache
image_cache_max_size = 21474836480
do_secure_hash = {strict}
image_tag_quota = 128
image_member_quota = 128
[database]
connection = sqlite:///{folder}/glance.db
[glance_store]
default_backend = store1
[store1]
filesystem_store_datadir = {folder}/store1
weight = 100
[store2]
filesystem_store_datadir = {folder}/store2
weight = 50
[web]
[os_glance_staging_store]
filesystem_store_datadir = {folder}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {folder}/tasks
[import_filtering_opts]
allowed_hosts = [127.0.0.1]
allowed_ports = []
[paste_deploy]
flavor = keystone+cachemanagement
[image_format]
disk_formats = ami,ari,aki,vhd,vhdx,vmdk,raw,qcow2,vdi,iso,ploop,gpt
require_image_format_match = {strict}
[image_import_opts]
image_import_plugins = [{plugins}]
[image_conversion]
output_format = raw
[oslo_policy]
policy_file = {folder}/policy.yaml
enforce_scope = true
enforce_new_defaults = true
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = glance
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
service_type = image
"""


def configure(work, suite, binary, keystone, port, admin):
    """A folder with a fresh node's configuration; its path and the environment to start it in."""
    folder = os.path.join(work, f"node-{suite}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "policy.yaml"), "w") as file:
        file.write("{}\n")
    glance = os.path.join(folder, "glance-api.conf")
    with open(glance, "w") as file:
        file.write(GLANCE.format(folder=folder, url=f"http://127.0.0.1:{port}", port=port,
                                 strict=str(suite != "tempest-lax").lower(), keystone=keystone,
                                 plugins="'image_conversion'" if suite == "tempest-formats" else "'no_op'",
                                 password=identities.SERVICE_PASSWORD))
    made = subprocess.run([binary, "config", "from-glance", glance], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if made.returncode not in (0, LOST):
        sys.exit(f"config from-glance ended with {made.returncode}: {made.stderr.decode()}")
    print(made.stderr.decode())
    config = os.path.join(folder, "glimpse.toml")
    with open(config, "wb") as file:
        file.write(made.stdout)
    return config, {
        "GLIMPSE_ADMIN__LISTEN": f"127.0.0.1:{admin}",
        "GLIMPSE_NODE__DATA_DIR": os.path.join(folder, "data"), "GLIMPSE_NODE__KEEP_FREE": "0B",
        "GLIMPSE_CACHE__SIZE": "64MiB", "GLIMPSE_CACHE__KEEP_FREE": "0B",
    }
