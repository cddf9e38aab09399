"""openstacksdk: every size, whole and in chunks, through the life of an image.

Arguments: base URL of the node, a folder for files.
"""

import os
import sys

import openstack
from openstack import exceptions

import samples


def main():
    base, folder = sys.argv[1:3]
    cloud = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="none",
        auth={"endpoint": base},
        image_endpoint_override=base,
    )
    images = cloud.image

    def check(image, path):
        samples.check_image(
            {
                "status": image.status,
                "size": image.size,
                "checksum": image.checksum,
                "os_hash_value": image.hash_value,
            },
            path,
        )

    def life(size, chunked):
        path = samples.make(folder, size)
        name = f"sdk-{size}-{chunked}"
        formats = {"disk_format": "ami", "container_format": "bare"}
        if chunked:
            image = images.create_image(name, **formats)

            def pieces():
                with open(path, "rb") as file:
                    while piece := file.read(200_000):
                        yield piece

            image.data = pieces()
            image.upload(images)
        else:
            image = images.create_image(
                name, filename=path, wait=True, allow_duplicates=True, hw_disk_bus="scsi", **formats
            )
        image = images.get_image(image.id)
        check(image, path)
        assert images.find_image(name).id == image.id
        assert [row.id for row in images.images(name=name)] == [image.id]
        saved = os.path.join(folder, "saved")
        images.download_image(image, output=saved, stream=True)
        samples.check_same(path, saved)
        os.remove(saved)
        return image

    def set_and_share(image):
        image = images.update_image(image, name="renamed", min_ram=512, os_distro="debian")
        image = images.get_image(image.id)
        assert (image.name, image.min_ram, image.os_distro) == ("renamed", 512, "debian"), image
        images.add_tag(image, "green")
        assert images.get_image(image.id).tags == ["green"]
        images.remove_tag(image, "green")
        images.add_member(image, member_id="someone")
        images.update_member("someone", image, status="accepted")
        members = [(row.member_id, row.status) for row in images.members(image)]
        assert members == [("someone", "accepted")], members
        images.remove_member("someone", image)
        images.deactivate_image(image)
        assert images.get_image(image.id).status == "deactivated"
        images.reactivate_image(image)

    def pages():
        made = [images.create_image(f"page-{number}").id for number in range(60)]
        assert {row.id for row in images.images(limit=7)} >= set(made)
        for image_id in made:
            images.delete_image(image_id)

    def metadata_definitions():
        made = images.create_metadef_namespace(
            namespace="sdk", display_name="SDK", visibility="public", is_protected=True
        )
        assert (made.namespace, made.visibility, made.is_protected) == ("sdk", "public", True), made
        images.update_metadef_namespace("sdk", display_name="S", is_protected=False)
        assert images.get_metadef_namespace("sdk").display_name == "S"
        assert [row.namespace for row in images.metadef_namespaces(limit=1)] == ["sdk"]
        images.create_metadef_object("sdk", name="o", description="d")
        images.update_metadef_object("o", namespace="sdk", name="p")
        assert [row.name for row in images.metadef_objects("sdk")] == ["p"]
        words = {"type": "string", "title": "T", "enum": ["a", "b"]}
        images.create_metadef_property("sdk", name="q", **words)
        assert images.get_metadef_property("q", "sdk").enum == ["a", "b"]
        assert [row.name for row in images.metadef_properties("sdk")] == ["q"]
        images.create_metadef_resource_type_association("sdk", name="OS::Test", prefix="x_")
        types = images.metadef_resource_type_associations("sdk")
        assert [(row.name, row.prefix) for row in types] == [("OS::Test", "x_")]
        assert "OS::Test" in [row.name for row in images.metadef_resource_types()]
        images.delete_metadef_resource_type_association("OS::Test", "sdk")
        images.delete_all_metadef_objects("sdk")
        images.delete_all_metadef_properties("sdk")
        images.delete_metadef_namespace("sdk")
        assert list(images.metadef_namespaces()) == []

    kept = []
    for size in samples.SIZES:
        kept.append(life(size, chunked=False))
        kept.append(life(size, chunked=True))
        print(f"openstacksdk: {size} bytes", flush=True)
    set_and_share(kept[0])
    for image in kept:
        images.delete_image(image)
    pages()
    metadata_definitions()
    assert list(images.images()) == []
    try:
        images.get_image(kept[0].id)
    except exceptions.NotFoundException:
        return
    raise AssertionError("a deleted image is still there")


main()
