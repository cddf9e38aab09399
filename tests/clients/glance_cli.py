"""The `glance` command: every size, file and standard input, through the life of an image.

Arguments: base URL of the node, a folder for files.
"""

import os
import pty
import subprocess
import sys

import samples


def main():
    base, folder = sys.argv[1:3]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    program = os.path.join(os.path.dirname(sys.executable), "glance")
    # The command keeps schemas below the home folder, by host; each run shall ask for them.
    environment["HOME"] = folder

    def run(*arguments, stdin=subprocess.DEVNULL, fails=False):
        command = [program, "--os-image-url", base, "--os-auth-token", "any", *arguments]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, env=environment)
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def rows(text):
        """The rows of a printed table, head first."""
        lines = [line for line in text.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def fields(text):
        return {row[0]: row[1] for row in rows(text)[1:]}

    def show(image_id):
        image = fields(run("image-show", "--max-column-width", "200", image_id))
        return {**image, "size": int(image["size"])}

    def life(size, how):
        path = samples.make(folder, size)
        create = ["image-create", "--name", f"glance-{size}-{how}", "--disk-format", "ami",
                  "--container-format", "bare", "--property", "hw_disk_bus=scsi"]
        if how == "stdin":
            with open(path, "rb") as file:
                image_id = fields(run(*create, stdin=file))["id"]
        elif how == "two steps":
            # Anything but a terminal would be taken for the data.
            terminal, keyboard = pty.openpty()
            image_id = fields(run(*create, stdin=keyboard))["id"]
            os.close(terminal)
            os.close(keyboard)
            assert fields(run("image-show", image_id))["status"] == "queued"
            run("image-upload", "--file", path, "--size", str(size), image_id)
        else:
            image_id = fields(run(*create, "--file", path))["id"]
        image = show(image_id)
        samples.check_image(image, path)
        assert image["hw_disk_bus"] == "scsi", image
        listed = rows(run("image-list", "--property-filter", f"name=glance-{size}-{how}"))
        assert [row[0] for row in listed[1:]] == [image_id], listed
        saved = os.path.join(folder, "saved")
        run("image-download", "--file", saved, image_id)
        samples.check_same(path, saved)
        os.remove(saved)
        return image_id

    def set_and_share(image_id):
        run("image-update", image_id, "--name", "renamed", "--property", "os_distro=debian",
            "--min-ram", "512", "--remove-property", "hw_disk_bus")
        image = show(image_id)
        assert image["name"] == "renamed" and image["min_ram"] == "512", image
        assert image["os_distro"] == "debian" and "hw_disk_bus" not in image, image
        run("image-tag-update", image_id, "green")
        run("image-tag-delete", image_id, "green")
        run("member-create", image_id, "someone")
        run("member-update", image_id, "someone", "accepted")
        members = rows(run("member-list", "--image-id", image_id))
        assert members[1:] == [[image_id, "someone", "accepted"]], members
        run("member-delete", image_id, "someone")
        run("image-deactivate", image_id)
        assert show(image_id)["status"] == "deactivated"
        run("image-reactivate", image_id)
        run("stores-info")

    def metadata_definitions():
        run("md-namespace-create", "cli", "--display-name", "CLI", "--visibility", "public")
        run("md-object-create", "cli", "--name", "o", "--schema",
            '{"properties": {"k": {"type": "string", "title": "K"}}}')
        run("md-object-property-show", "cli", "o", "k")
        run("md-property-create", "cli", "--name", "p", "--title", "P", "--type", "integer",
            "--schema", '{"minimum": 1}')
        run("md-property-update", "cli", "p", "--name", "q")
        run("md-tag-create-multiple", "cli", "--names", "two,three")
        run("md-tag-create", "cli", "--name", "one")
        run("md-tag-update", "cli", "one", "--name", "four")
        tags = {row[0] for row in rows(run("md-tag-list", "cli"))[1:]}
        assert tags == {"two", "three", "four"}, tags
        run("md-resource-type-associate", "cli", "--name", "OS::Test", "--prefix", "x_")
        prefixed = run("md-namespace-show", "cli", "--resource-type", "OS::Test")
        assert "x_q" in prefixed, prefixed
        listed = rows(run("md-namespace-list", "--resource-types", "OS::Test"))
        assert [row[0] for row in listed[1:]] == ["cli"], listed
        run("md-namespace-resource-type-list", "cli")
        run("md-resource-type-list")
        run("md-resource-type-deassociate", "cli", "OS::Test")
        run("md-object-update", "cli", "o", "--name", "n")
        run("md-object-delete", "cli", "n")
        run("md-namespace-properties-delete", "cli")
        run("md-namespace-tags-delete", "cli")
        run("md-namespace-update", "cli", "--protected", "True")
        run("md-namespace-delete", "cli", fails=True)
        run("md-namespace-update", "cli", "--protected", "False")
        run("md-namespace-import", "--file", imported(folder))
        run("md-namespace-delete", "cli")
        run("md-namespace-delete", "imported")

    kept = []
    for size in samples.SIZES:
        kept.append(life(size, "file"))
        if size in (1, samples.MIB + 1):
            kept.append(life(size, "two steps"))
        if size in (1, 300 * samples.MIB):
            kept.append(life(size, "stdin"))
        print(f"glance: {size} bytes", flush=True)
    set_and_share(kept[1])
    run("image-delete", *kept)
    assert rows(run("image-list"))[1:] == []
    run("image-show", kept[0], fails=True)
    metadata_definitions()


def imported(folder):
    """A file with a namespace."""
    path = os.path.join(folder, "namespace.json")
    with open(path, "w") as file:
        file.write('{"namespace": "imported", "tags": [{"name": "t"}]}')
    return path


main()
