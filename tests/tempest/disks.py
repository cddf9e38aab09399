"""Tiny disk images for Tempest's format tests, by hand or with qemu-img, and the manifest that says of
each whether it may be used."""

import os
import struct
import subprocess

# Name, the format that the API knows it by, and what qemu-img makes it with.
BY_QEMU = [
    ("qcow2-v3", "qcow2", "qcow2", ["-o", "compat=1.1"]), ("vhd", "vhd", "vpc", []), ("vhdx", "vhdx", "vhdx", []),
    ("vdi", "vdi", "vdi", []), ("vmdk-sparse", "vmdk", "vmdk", ["-o", "subformat=monolithicSparse"]),
    ("vmdk-stream", "vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
]


def qcow2(version=2, incompatible=0, backing=b""):
    """As much of one as inspection reads: a header, one L1 entry, a reference count table."""
    header = bytearray(65536 * 4)
    struct.pack_into(">4sIQIIQIIQQIIQ", header, 0, b"QFI\xfb", version, 512 if backing else 0, len(backing), 16,
                     1 << 20, 0, 1, 65536 * 3, 65536, 1, 0, 0)
    if version == 3:
        struct.pack_into(">QQQII", header, 72, incompatible, 0, 0, 4, 104)
    struct.pack_into(">Q", header, 65536, 65536 * 2)
    struct.pack_into(">4H", header, 65536 * 2, 1, 1, 1, 1)
    header[512:512 + len(backing)] = backing
    return header


def make(folder):
    """Writes them all and manifest.yml."""
    os.makedirs(folder, exist_ok=True)
    rows = []

    def add(name, kind, file, usable=True, data=None):
        if data is not None:
            with open(os.path.join(folder, file), "wb") as out:
                out.write(data)
        rows.append(f"- {{name: {name}, format: {kind}, filename: {file}, usable: {str(usable).lower()}}}\n")

    add("qcow2-v2", "qcow2", "disk.qcow2", data=qcow2())
    add("qcow2-data-file", "qcow2", "datafile.qcow2", False, qcow2(3, incompatible=4))
    add("qcow2-backing", "qcow2", "backing.qcow2", False, qcow2(backing=b"/etc/passwd"))
    add("raw", "raw", "raw.raw", data=os.urandom(1 << 20))
    with open(os.path.join(folder, "disk.raw"), "wb") as out:
        out.write(os.urandom(1 << 20))
    source = os.path.join(folder, "raw.raw")
    for name, kind, qemu, options in BY_QEMU:
        target = os.path.join(folder, name + ".img")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", qemu, *options, source, target], check=True)
        add(name, kind, name + ".img")
    flat = os.path.join(folder, "flat.vmdk")
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "1M"], check=True)
    add("vmdk-flat", "vmdk", "flat.vmdk", False)
    with open(os.path.join(folder, "manifest.yml"), "w") as out:
        out.write("images:\n" + "".join(rows))
