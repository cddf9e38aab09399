"""Fills a Keystone with whom Tempest and the node need, over its API (no client library).

    admin/admin (admin), glance/service (admin and service), and the image service in the catalog.
"""

import json
import urllib.request

# As serve_keystone.py has them.
ADMIN_PASSWORD, SERVICE_PASSWORD = "adminpw", "a password"
REGION = "RegionOne"


class Identity:
    def __init__(self, url):
        self.url, self.token = url, None
        auth = {"identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}
        _, headers = self.ask("POST", "/auth/tokens", {"auth": auth})
        self.token = headers["X-Subject-Token"]

    def ask(self, method, path, body=None, base=None):
        headers = {"Content-Type": "application/json", **({"X-Auth-Token": self.token} if self.token else {})}
        request = urllib.request.Request((base or self.url) + path, method=method, headers=headers,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return (json.loads(text) if text else {}), answer.headers

    def named(self, kind, name, **attributes):
        """The id of the service, role, project, user of that name, made when it is not there."""
        found, _ = self.ask("GET", f"/{kind}s?name={name}")
        if found[f"{kind}s"]:
            return found[f"{kind}s"][0]["id"]
        made, _ = self.ask("POST", f"/{kind}s", {kind: {"name": name, **attributes}})
        return made[kind]["id"]

    def endpoints(self, name, kind, url):
        """The three endpoints of a service, at this URL from now on."""
        service = self.named("service", name, type=kind)
        found, _ = self.ask("GET", f"/endpoints?service_id={service}")
        there = {one["interface"]: one for one in found["endpoints"]}
        for interface in ("public", "internal", "admin"):
            if interface in there:
                self.ask("PATCH", f"/endpoints/{there[interface]['id']}", {"endpoint": {"url": url}})
            else:
                self.ask("POST", "/endpoints", {"endpoint": {"service_id": service, "interface": interface, "url": url,
                                                             "region_id": REGION}})

    def seed(self, image_url):
        for name in ("admin", "manager", "member", "reader", "service"):
            self.named("role", name)
        project = self.named("project", "service", domain_id="default")
        user = self.named("user", "glance", domain_id="default", password=SERVICE_PASSWORD, default_project_id=project)
        for role in ("admin", "service"):
            self.ask("PUT", f"/projects/{project}/users/{user}/roles/{self.named('role', role)}")
        # Registered limits are read with a token of the system.
        self.ask("PUT", f"/system/users/{user}/roles/{self.named('role', 'reader')}")
        self.endpoints("keystone", "identity", self.url)
        self.endpoints("glance", "image", image_url)

    def define(self, image_url):
        """A metadata definition: the tests take the first resource type that there is, as every deployment
        that has loaded the reference's definitions has some."""
        self.ask("POST", "/v2/metadefs/namespaces", base=image_url, body={
            "namespace": "OS::Compute::Watchdog", "visibility": "public", "protected": True,
            "resource_type_associations": [{"name": "OS::Glance::Image"}, {"name": "OS::Nova::Flavor"}]})
