"""Sends the same generated requests to the reference and to the node and compares the answers.

    run.py --node BINARY --venv REFERENCE_VENV --work FOLDER [--seed N] [--episodes N]
    run.py ... --seed N --episode K      one episode again, each request with both answers

Each difference is a bug or a line of differences.toml with its reason; one with neither fails, and so
does a line that nothing fits any more (in the usual run, whose seed and length are fixed).
"""

import argparse
import collections
import os
import sys
import time

import accepted
import compare
import episodes
import routes
import servers
import wire

SEED, EPISODES = 1, 176
# How often an episode's status is asked for again, and how long.
PAUSE, PATIENCE = 0.1, 20


def settled(peer, request, headers):
    """The answer once the status of the image is none of `until_not`, and no import holds it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = peer.send(request, headers)
        document = answer.json() if request.until_not else None
        moving = isinstance(document, dict) and (
            document.get("status") in request.until_not or document.get("os_glance_import_task"))
        if not moving or time.monotonic() > deadline:
            return answer
        time.sleep(PAUSE)


class Run:
    def __init__(self, theirs, ours, known, verbose=False):
        self.theirs, self.ours, self.known, self.verbose = theirs, ours, known, verbose
        self.sent = 0
        self.by_route = collections.Counter()
        self.unexplained = collections.defaultdict(list)

    def episode(self, seed, number):
        episode = episodes.Episode(seed, number)
        for peer in (self.theirs, self.ours):
            peer.symbols.clear()
        headers = wire.personas(number)
        for step, request in enumerate(episode.requests()):
            if not self.same(request, headers[request.persona], (seed, number, step, episode.kind)):
                break
        for request in episode.cleanup():
            for peer in (self.theirs, self.ours):
                status = peer.send(request, headers[request.persona]).status
                if request.method == "DELETE" and status not in (204, 404):
                    print(f"{peer.service.name}: {status} to {peer.fill(request.path)} at the end of episode {number}")
        for peer in (self.theirs, self.ours):
            self.sweep(peer, headers["admin"])

    def sweep(self, peer, admin):
        """Deletes the images that no request of the episode named: tasks make some, as they run."""
        listed = peer.send(wire.Request("admin", "GET", "/v2/images?visibility=all&limit=100"), admin).json()
        for image in (listed or {}).get("images", []):
            peer.send(wire.Request("admin", "DELETE", f"/v2/images/{image['id']}"), admin)

    def same(self, request, headers, place):
        """Compares one request; false where the two are of different minds from here on."""
        answers = [settled(peer, request, headers) for peer in (self.theirs, self.ours)]
        self.sent += 1
        route, line = routes.route(request), request.line()
        self.by_route[route] += 1
        pairs = [(compare.Normalizer(peer), answer) for peer, answer in zip((self.theirs, self.ours), answers)]
        found = compare.differences(*pairs)
        if self.verbose:
            print(f"--- {line}")
            for name, answer in zip(("reference", "node"), answers):
                print(f"  {name}: {answer.status} {answer.headers}\n    {answer.body[:600]}")
        for difference in found:
            if not self.known.take(route, line, answers[0].status, difference):
                self.unexplained[route, difference[0]].append((place, line, difference, answers))
        statuses = [answer.status for answer in answers]
        # A write that only one of them took, or a record of two states.
        wrote = request.method not in ("GET", "HEAD") or request.until_not
        # The reference saves a new owner before it refuses it, so that the image changes hands.
        given_away = statuses[0] == 403 and b"not visible" in answers[0].body
        apart = given_away or wrote and statuses[0] != statuses[1] and any(200 <= status < 300 for status in statuses)
        return not apart and not any(field.endswith(".status") for field, _, _ in found)

    def report(self):
        for (route, field), cases in sorted(self.unexplained.items(), key=lambda item: item[0]):
            print(f"\n{route}: {field} differs in {len(cases)} answers")
            for (seed, number, step, kind), line, (_, theirs, ours), answers in cases[:10 if field == "status" else 3]:
                print(f"  seed {seed}, episode {number} ({kind}), step {step}: {line}")
                print(f"    reference: {theirs}\n    node:      {ours}")
                if field == "status":
                    for answer in answers:
                        print(f"      {answer.status}: {answer.body[:160]}")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--node", required=True)
    options.add_argument("--venv", required=True)
    options.add_argument("--work", required=True)
    options.add_argument("--seed", type=int, default=SEED)
    options.add_argument("--episodes", type=int, default=EPISODES)
    options.add_argument("--episode", type=int)
    options.add_argument("--kind", help="only episodes of this kind")
    options = options.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    known = accepted.Accepted(os.path.join(here, "differences.toml"))
    work = os.path.abspath(options.work)
    started = []
    try:
        node = servers.node(os.path.join(work, "node"), os.path.abspath(options.node))
        started.append(node)
        reference = servers.reference(os.path.join(work, "reference"), os.path.abspath(options.venv),
                                      servers.defined_properties(node))
        started.append(reference)
        run = Run(wire.Peer(reference), wire.Peer(node), known, options.episode is not None)
        if options.episode is not None:
            run.episode(options.seed, options.episode)
        else:
            for number in range(options.episodes):
                if not options.kind or episodes.Episode(options.seed, number).kind == options.kind:
                    run.episode(options.seed, number)
    finally:
        for service in started:
            service.stop()
    usual = (options.seed, options.episodes, options.episode, options.kind) == (SEED, EPISODES, None, None)
    sys.exit(verdict(run, known, usual))


def verdict(run, known, usual):
    """Prints what came of it; true when it failed."""
    run.report()
    unused = known.unused() if usual else []
    for entry in unused:
        print(f"\ndifferences.toml: nothing fits any more: {entry.name()}")
    print(f"\n{run.sent} requests to {len(run.by_route)} routes compared")
    for feature, count in sorted(known.by_feature().items()):
        print(f"  {count} differences {feature}")
    unexplained = sum(len(cases) for cases in run.unexplained.values())
    print(f"  {unexplained} differences unexplained, {len(unused)} lines of differences.toml unused")
    return bool(unexplained or unused)


if __name__ == "__main__":
    main()
