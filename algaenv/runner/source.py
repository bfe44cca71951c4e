"""Where bundles come from: the parts of BUNDLE_STORE_BASE, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Source:
    """`url` is the base without trailing slashes; `bucket` its first path segment.

    `bucket` is empty when the base has no path. `prefix` is the rest of the path, a prefix of
    all keys.
    """

    url: str
    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    def of(cls, base: str, *, access_key: str, secret_key: str, region: str) -> Source:
        """Take an absolute URL apart; query and fragment are dropped."""
        parts = urlsplit(base)
        bucket, _, prefix = parts.path.strip("/").partition("/")
        return cls(
            url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
            endpoint=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            bucket=unquote(bucket),
            prefix=unquote(prefix.strip("/")),
            region=region,
            access_key=access_key,
            secret_key=secret_key,
        )

    @property
    def signed(self) -> bool:
        """Whether requests are signed: both keys are there, and so is a bucket."""
        return bool(self.access_key and self.secret_key and self.bucket)
