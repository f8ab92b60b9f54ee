"""Addresses of remote sets: which are allowed, and how they are shown.

http(s)://HOST/SET    s3://BUCKET/SET    pipe:COMMAND {}    ({} becomes the name of the file)
"""

from urllib.parse import quote, urlsplit, urlunsplit

from launch.redact import redacted

COMMAND = "pipe:"


def is_remote(address: str) -> bool:
    return is_command(address) or "://" in address


def is_command(address: str) -> bool:
    return address.startswith(COMMAND)


def check_address(address: str) -> None:
    """ValueError for an address of another kind, or with a user and password."""
    scheme = address.partition(":")[0]
    if scheme not in ("http", "https", "s3", "pipe"):
        raise ValueError(
            f"{redacted(address)}: expected a folder, http(s)://HOST/SET, s3://BUCKET/SET or pipe:COMMAND {{}}; a "
            "command reaches any other storage, such as `pipe:gsutil cat gs://BUCKET/SET/{}`"
        )
    if is_command(address):
        if "{}" not in address:
            raise ValueError(f"{redacted(address)}: expected {{}} in the command, for the name of the file")
        return
    try:
        host, port = urlsplit(address).netloc, urlsplit(address).port
    except ValueError:
        host, port = address, 0
    if port == 0:
        raise ValueError(
            f"{redacted(address)}: expected HOST or HOST:PORT after the slashes, the host in brackets if it is an IPv6 "
            "address"
        )
    if not host or "@" in host:
        raise ValueError(
            f"{scheme}:// address: expected the name of a {'bucket' if scheme == 's3' else 'host'} after the slashes, "
            "without user and password; a command can send them: `pipe:curl -sf --netrc https://HOST/SET/{}`"
        )


def location(address: str, name: str) -> str:
    """The address of a file. A query (a signature, a token) stays at its end."""
    if is_command(address):
        return address.replace("{}", name)
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))
