"""Files to upload, made from a seed, and their comparison."""

import hashlib
import os
import random

MIB = 1 << 20
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 300 * MIB]


def make(folder, size):
    """A file of `size` bytes without a pattern; made once."""
    path = os.path.join(folder, f"data-{size}")
    if not os.path.exists(path):
        source = random.Random(size)
        with open(path, "wb") as file:
            left = size
            while left:
                piece = min(left, MIB)
                file.write(source.randbytes(piece))
                left -= piece
    return path


def digest(path, name):
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def check_same(one, other):
    """Fails when two files differ."""
    assert os.path.getsize(one) == os.path.getsize(other), f"{other} has another length"
    assert digest(one, "sha256") == digest(other, "sha256"), f"{other} has other bytes"


def check_image(image, path):
    """Fails unless an active image tells size and hashes of the file at `path`."""
    assert image["status"] == "active", image
    assert image["size"] == os.path.getsize(path), image
    assert image["checksum"] == digest(path, "md5"), image
    properties = image.get("properties") or {}
    hashed = image.get("os_hash_value") or properties.get("os_hash_value")
    assert hashed == digest(path, "sha512"), image
