"""Google Cloud Storage."""

from __future__ import annotations

import json
from typing import Any

from obstore.store import GCSStore

from exeunt.artifacts.objects import ObjectStore, client_of
from exeunt.artifacts.stores import Store, StoreAccess
from exeunt.language.places import GCSPlace


def gcs_store(place: GCSPlace, access: StoreAccess) -> Store:
    """The store of a GCSPlace."""
    store = ObjectStore(place, access, None)
    word = store.secret(place.service_account_key_secret)
    config: dict[str, Any] = {}
    if word:
        try:
            key = json.loads(word)
        except ValueError as error:
            raise store.failed(
                "gcs.serviceAccountKeySecret: the JSON of a service account's key is expected"
            ) from error
        if isinstance(key, dict) and key.get("gcs_base_url"):
            store.may_use(str(key["gcs_base_url"]))
        config["service_account_key"] = word
    elif not access.environment:
        config["skip_signature"] = True
    http = '"http://' in word.replace(" ", "")  # an emulator's own address stands in the key
    store.connect(client_of(GCSStore, place.bucket, config, {"allow_http": http}, store=store))
    return store
