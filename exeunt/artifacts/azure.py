"""Azure Blob Storage."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from obstore.store import AzureStore

from exeunt.artifacts.objects import ObjectStore, client_of
from exeunt.artifacts.stores import Store, StoreAccess
from exeunt.language.places import AzurePlace


def azure_store(place: AzurePlace, access: StoreAccess) -> Store:
    """The store of an AzurePlace. The account is the first label of its host, or the path of the endpoint."""
    store = ObjectStore(place, access, None)
    url = urlsplit(place.endpoint)
    account = url.path.strip("/") or (url.hostname or "").partition(".")[0]
    config: dict[str, Any] = {"account_name": account, "endpoint": place.endpoint.rstrip("/")}
    key = "" if place.use_sdk_creds else store.secret(place.account_key_secret).strip()
    if key:
        config["account_key"] = key
    elif not access.environment:
        config["skip_signature"] = True
    store.connect(client_of(AzureStore, place.container, config, {"allow_http": url.scheme == "http"}, store=store))
    return store
