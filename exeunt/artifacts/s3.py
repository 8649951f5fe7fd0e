"""S3 and what speaks its language: addresses, credentials, encryption, and missing buckets that are made."""

from __future__ import annotations

import base64
import ssl
from datetime import timedelta
from typing import Any

import aiohttp
import obstore
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from exeunt.artifacts.objects import ObjectStore, client_of, fixed
from exeunt.artifacts.stores import StoreAccess, shortened
from exeunt.language.places import S3Place

DEFAULT_REGION = "us-east-1"
_AMAZON = "s3.amazonaws.com"
_SIGNED_FOR = timedelta(minutes=5)


class S3Store(ObjectStore):
    """A bucket."""

    def __init__(self, place: S3Place, access: StoreAccess) -> None:
        super().__init__(place, access, None)
        self._at = place
        self._region = place.region or DEFAULT_REGION
        self._prepared = place.create_bucket_if_not_present is None
        key = self.secret(place.access_key_secret)
        self._provider = fixed(key, self.secret(place.secret_key_secret), self.secret(place.session_token_secret))
        self._ca = self.secret(place.ca_secret)
        if self._ca and "-----BEGIN CERTIFICATE-----" not in self._ca:
            raise self.failed("s3.caSecret: a certificate in PEM is expected")
        options = place.encryption_options
        enabled = options is not None and options.enable_encryption
        self._kms = options.kms_key_id if options is not None and enabled else ""
        self._encrypted = enabled
        self._customer_key = self.secret(options.server_side_customer_key_secret) if options and enabled else ""
        if self._customer_key and place.insecure:
            raise self.failed("s3.encryptionOptions.serverSideCustomerKeySecret: keys are not sent over plain http")
        self._client = self._made("")

    how_to_create = ", or say createBucketIfNotPresent: {}"

    def client(self, key: str) -> Any:
        """With a customer's key each object is encrypted by one of its own."""
        return self._made(key) if self._customer_key and key else self._client

    async def prepare(self) -> None:
        if self._prepared:
            return
        try:
            await obstore.list_with_delimiter_async(self._client, "exeunt-is-it-there")
        except (BaseError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                await self._create()
        self._prepared = True

    async def _create(self) -> None:
        """Makes the bucket; obstore can only sign the request for it."""
        body = b""
        if self._region != DEFAULT_REGION:
            body = (
                '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<LocationConstraint>{self._region}</LocationConstraint></CreateBucketConfiguration>"
            ).encode()
        verify: Any = ssl.create_default_context(cadata=self._ca) if self._ca else True
        try:
            url = await obstore.sign_async(self._client, "PUT", "", _SIGNED_FOR)
            limit = aiohttp.ClientTimeout(total=60)
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.put(url, data=body, ssl=verify) as found,
            ):
                said = (await found.content.read(4096)).decode(errors="replace")
                status = found.status
        except (BaseError, aiohttp.ClientError, TimeoutError) as error:
            raise self.failed(f"its bucket could not be created: {shortened(str(error))}", temporary=True) from error
        if status not in (200, 409):
            raise self.failed(
                f"its bucket could not be created (status {status}): {shortened(said)}", temporary=status >= 500
            )

    def _made(self, key: str) -> Any:
        place = self._at
        scheme = "http" if place.insecure else "https"
        host = place.endpoint
        if host == _AMAZON and place.region:
            host = f"s3.{place.region}.amazonaws.com"
        named = place.addressing_style == "virtual-hosted" or (
            not place.addressing_style and host.endswith(".amazonaws.com") and "." not in place.bucket
        )
        endpoint = f"{scheme}://{place.bucket}.{host}" if named else f"{scheme}://{host}"
        config: dict[str, Any] = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,  # or one in the environment would come before
            "region": self._region,
            "virtual_hosted_style_request": named,
            **self._encryption(key),
        }
        if self._provider is None and not self.access.environment:
            config["skip_signature"] = True
        options: dict[str, Any] = {"allow_http": place.insecure}
        if self._ca:
            options["root_certificate"] = self._ca
        return client_of(Client, place.bucket, config, options, store=self, provider=self._provider)

    def _encryption(self, key: str) -> dict[str, Any]:
        if self._customer_key:
            made = customer_key(self._customer_key, place_name=f"{self._at.bucket}{key}")
            return {"server_side_encryption": "sse-c", "sse_customer_key_base64": base64.b64encode(made).decode()}
        if self._kms:
            return {"server_side_encryption": "aws:kms", "sse_kms_key_id": self._kms}
        return {"server_side_encryption": "AES256"} if self._encrypted else {}


def customer_key(word: str, *, place_name: str) -> bytes:
    """The key of one object, as Argo's client derives it, so that each reads what the other wrote.

    `place_name` is the bucket's name and the object's key, one behind the other.
    """
    salt = place_name.encode()
    return Argon2id(salt=salt, length=32, iterations=1, lanes=4, memory_cost=64 * 1024).derive(word.encode())
