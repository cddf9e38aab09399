"""The generator: episodes of requests, drawn from a seed.

An episode has projects of its own and a kind; each step is drawn from the kind's actions with what
the episode already made. Its images are deleted at its end, so that lists stay short and one
difference does not make all later ones.
"""

import random
import uuid

import data
import images
import others
from wire import Request

# Kind and weight. Each has a function of an Episode that draws one request (or several).
KINDS = [
    ("records", 8, images.record_step),
    ("patches", 6, images.patch_step),
    ("lists", 6, images.list_step),
    ("data", 6, data.data_step),
    ("sharing", 4, data.sharing_step),
    ("discovery", 3, others.discovery_step),
    ("protocol", 4, others.protocol_step),
    ("metadefs", 5, others.metadef_step),
    ("tasks", 2, others.task_step),
    ("imports", 3, others.import_step),
    ("locations", 3, others.location_step),
    ("cache", 2, others.cache_step),
]
STEPS = 24


class Episode:
    """What was made so far, by symbols, and the random numbers."""

    def __init__(self, seed, number):
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.kind, _, self.step = self.random.choices(KINDS, [weight for _, weight, _ in KINDS])[0]
        self.images = []
        # What later steps of this episode may refer to, by kind.
        self.names = {"namespaces": [], "task": []}

    def requests(self):
        """Yields requests; whoever drives it need not say what came of them."""
        for _ in range(self.random.randint(STEPS // 2, STEPS)):
            yield from self.step(self)

    def cleanup(self):
        for image in self.images:
            patch = [{"op": "replace", "path": "/protected", "value": False}]
            yield Request("admin", "PATCH", f"/v2/images/{image}", images.PATCH_21, patch)
            yield Request("admin", "DELETE", f"/v2/images/{image}")
        for name in self.names["namespaces"]:
            yield Request("admin", "PUT", f"/v2/metadefs/namespaces/{name}", {}, {"namespace": name})
            yield Request("admin", "DELETE", f"/v2/metadefs/namespaces/{name}")

    # Draws.

    def one(self, items):
        return self.random.choice(items)

    def chance(self, of):
        return self.random.random() < of

    def some(self, items, most=3):
        return self.random.sample(items, self.random.randint(0, min(most, len(items))))

    def uuid(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def persona(self):
        return self.random.choices(
            ["alpha", "admin", "beta", "alpha_reader", "service", "only_service", "nobody", "system", "nowhere"],
            [50, 20, 10, 6, 4, 3, 3, 2, 2])[0]

    def image(self):
        """An image of this episode, most often; else none at all."""
        if self.images and not self.chance(0.04):
            return self.one(self.images)
        return self.one([self.uuid(), "null", "not-an-id", self.uuid().upper()])

    def new_image(self):
        symbol = f"@image{len(self.images)}@"
        self.images.append(symbol)
        return symbol
