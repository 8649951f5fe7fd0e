"""Which store stands behind which kind of place. A kind more is a module and a line here.

Importing this loads the clients of all stores: whoever may have no artifact to move does so late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exeunt.artifacts.azure import azure_store
from exeunt.artifacts.gcs import gcs_store
from exeunt.artifacts.git import GitStore
from exeunt.artifacts.http import ArtifactoryStore, HTTPStore
from exeunt.artifacts.nats import NATSStore
from exeunt.artifacts.oss import oss_store
from exeunt.artifacts.raw import RawStore
from exeunt.artifacts.s3 import S3Store
from exeunt.artifacts.stores import Store, StoreAccess
from exeunt.language.place_parts import ArtifactPlace

STORES: dict[str, Callable[[Any, StoreAccess], Store]] = {
    "artifactory": ArtifactoryStore,
    "azure": azure_store,
    "gcs": gcs_store,
    "git": GitStore,
    "http": HTTPStore,
    "nats": NATSStore,
    "oss": oss_store,
    "raw": RawStore,
    "s3": S3Store,
}


def store_for(place: ArtifactPlace, access: StoreAccess) -> Store:
    """The store behind a place. Raises StoreError where a secret is missing or cannot be one."""
    return STORES[place.kind](place, access)
