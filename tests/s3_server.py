"""A local S3 server (moto), for tests of files that travel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4


@contextmanager
def s3_bucket() -> Iterator[str]:
    """Start a server that this process and those it starts reach; the address of an empty bucket.

    Both packages are of the extra ``dev``: without them the tests fail, and are not passed over.
    """
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    own = {
        "AWS_ENDPOINT_URL": f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = (
            f"bench-{uuid4().hex[:12]}"  # moto keeps what one server was given for the next of this process
        )
        s3fs.S3FileSystem().mkdir(bucket)
        yield f"s3://{bucket}"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
