"""By s3, through boto3."""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from data.remote.transports import body
from data.remote.transports.body import CHUNK, Body, Interrupted, Refused, error_of_status, extent, in_one_line


def open_s3(url: str, start: int) -> Body:
    connection = client()
    from botocore import exceptions as botocore
    from urllib3.exceptions import HTTPError

    parts = urlsplit(url)
    skip = {"Range": f"bytes={start}-"} if start else {}
    permanent = (botocore.NoCredentialsError, botocore.PartialCredentialsError, botocore.ParamValidationError)
    try:
        found = connection.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"), **skip)
    except botocore.ClientError as error:
        raise error_of_status(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from None
    except permanent as error:
        raise Refused(f"{in_one_line(error)} (credentials are found as the AWS tools find them)") from None
    except botocore.BotoCoreError as error:
        raise Interrupted(in_one_line(error)) from None
    stream = found["Body"]

    def read() -> bytes:
        try:
            return bytes(stream._raw_stream.read1(CHUNK))  # what has come; its own `read` waits for all of it
        except (OSError, HTTPError) as error:
            raise Interrupted(in_one_line(error)) from None

    return Body(*extent(found["ResponseMetadata"]["HTTPHeaders"], start), read, stream.close)


@cache
def client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ValueError("s3:// needs another package: pip install boto3") from None
    return boto3.Session().client("s3", config=Config(connect_timeout=body.TIMEOUT_S, read_timeout=body.TIMEOUT_S))
