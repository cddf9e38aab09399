"""The template of a path, for reports and differences.toml."""

import re

TEMPLATES = [
    "/v2/images", "/v2/images/{id}", "/v2/images/{id}/file", "/v2/images/{id}/stage",
    "/v2/images/{id}/import", "/v2/images/{id}/tasks", "/v2/images/{id}/locations",
    "/v2/images/{id}/actions/deactivate", "/v2/images/{id}/actions/reactivate",
    "/v2/images/{id}/tags/{tag}", "/v2/images/{id}/members", "/v2/images/{id}/members/{member}",
    "/v2/stores/{store}/{id}", "/v2/schemas/metadefs/{name}", "/v2/schemas/{name}",
    "/v2/info/import", "/v2/info/stores", "/v2/info/stores/detail", "/v2/info/usage",
    "/v2/tasks", "/v2/tasks/{id}",
    "/v2/cache", "/v2/cache/clean", "/v2/cache/prune", "/v2/cache/{id}", "/v2/cache/nodes/{id}",
    "/v2/cached_images", "/v2/cached_images/{id}", "/v2/queued_images", "/v2/queued_images/{id}",
    "/v2/metadefs/namespaces", "/v2/metadefs/resource_types", "/v2/metadefs/namespaces/{namespace}",
    "/v2/metadefs/namespaces/{namespace}/{part}", "/v2/metadefs/namespaces/{namespace}/{part}/{name}",
    "/", "/versions", "/healthcheck",
]


def pattern(template):
    parts = (r"[^/?]+" if part.startswith("{") else re.escape(part) for part in template.split("/"))
    return re.compile("/".join(parts) + r"(\?.*)?", re.S)


PATTERNS = [(template, pattern(template)) for template in TEMPLATES]


def route(request):
    for template, fits in PATTERNS:
        if fits.fullmatch(request.path):
            return f"{request.method} {template}"
    return f"{request.method} (no route)"
