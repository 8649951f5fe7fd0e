"""Alibaba Cloud's OSS, by its interface like S3's."""

from __future__ import annotations

import re
from typing import Any

from obstore.store import S3Store

from exeunt.artifacts.objects import ObjectStore, client_of, fixed
from exeunt.artifacts.stores import Store, StoreAccess
from exeunt.language.places import OSSPlace


def oss_store(place: OSSPlace, access: StoreAccess) -> Store:
    """The store of an OSSPlace, by its interface like S3's; on Alibaba's hosts the bucket is part of the name."""
    store = ObjectStore(place, access, None)
    scheme, separator, host = place.endpoint.partition("://")
    if not separator:
        scheme, host = "https", place.endpoint
    host = host.rstrip("/")
    own = host.endswith(".aliyuncs.com")
    region = re.match(r"(?:s3\.)?(oss-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com$", host)
    endpoint = f"{scheme}://{place.bucket}.{host}" if own else f"{scheme}://{host}"
    config: dict[str, Any] = {
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "region": region[1].removeprefix("oss-") if region else "us-east-1",
        "virtual_hosted_style_request": own,
        "disable_bulk_delete": True,
    }
    provider = fixed(store.secret(place.access_key_secret), store.secret(place.secret_key_secret), place.security_token)
    if provider is None:
        config["skip_signature"] = True
    store.connect(
        client_of(S3Store, place.bucket, config, {"allow_http": scheme == "http"}, provider=provider, store=store)
    )
    return store
