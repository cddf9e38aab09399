"""What came of a Tempest run, beside what must: `expected/SUITE.pass` names the tests that pass on the
reference; `not_yet.txt` those of them that the node does not pass today, which must not pass either, so
that the list says the truth."""

import collections
import io
import os
import re

import subunit
import testtools

HERE = os.path.dirname(os.path.abspath(__file__))


def results(stream):
    """Status and reason of each test of a subunit stream, by its name without its tags."""
    done = {}

    def on_test(test):
        details = test["details"]
        texts = [value.as_text() for key, value in details.items() if "traceback" in key or key == "reason"]
        done[plain(test["id"])] = test["status"], "\n".join(texts).strip()

    case = subunit.ByteStreamToStreamResult(io.BytesIO(stream), non_subunit_name="stdout")
    result = testtools.StreamToDict(on_test)
    result.startTestRun()
    case.run(result)
    result.stopTestRun()
    done.pop("stdout", None)
    return done


def plain(name):
    return re.sub(r"\[.*\]$", "", name)


def names(file):
    """The names of a list, each with the comment that follows it."""
    with open(os.path.join(HERE, file)) as lines:
        for line in lines:
            name, _, why = line.strip().partition(" # ")
            if name and not name.startswith("#"):
                yield plain(name), why


def not_yet(suite):
    """Lines of not_yet.txt are "SUITE NAME # why"; SUITE may be `*`."""
    return {name.split(" ", 1)[1]: why for name, why in names("not_yet.txt") if name.split(" ", 1)[0] in (suite, "*")}


def judge(suite, stream, regex):
    """Prints the result of a suite; true when it is what it must be, for the tests that were asked for."""
    done = results(stream)
    expected = [name for name, _ in names(f"expected/{suite}.pass") if re.search(regex, name)]
    waiting = {name: why for name, why in not_yet(suite).items() if name in expected}
    passed = {name for name, (status, _) in done.items() if status in ("success", "xfail")}
    failed = {name for name, (status, _) in done.items() if status in ("fail", "uxsuccess", "inprogress")}
    remote = {name for name in expected if "remote" in name.lower()}
    wrong = []
    for name in expected:
        if name in remote or (name in waiting and name not in passed):
            continue
        if name in waiting:
            wrong.append((name, "passes: take it from not_yet.txt"))
        elif name not in passed:
            wrong.append((name, done.get(name, ("", "did not run"))))
    wrong += [(name, done[name]) for name in sorted(failed - set(expected) - set(waiting) - remote)]
    for name, why in wrong:
        print(f"FAILED {name}: {shorter(why)}")
    for name in sorted(set(waiting) - passed):
        print(f"not yet {name}: {waiting[name]}: {shorter(done.get(name, ('', 'did not run')))}")
    skips = collections.Counter(reason for status, reason in done.values() if status == "skip")
    for reason, count in skips.items():
        print(f"skipped by Tempest, {count}: {reason.splitlines()[0] if reason else ''}")
    held = len([name for name in expected if name in passed])
    print(f"{suite}: {held} of {len(expected)} pass, {len(failed)} failed, {len(set(waiting) - passed)} not yet; "
          f"NOT RUN, since they need a second node: {len(remote - passed)}")
    return not wrong


def shorter(why):
    if isinstance(why, str):
        return why
    status, text = why
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{status} {lines[-1][:400] if lines else ''}"
