"""The bytes of artifacts: the places that manifests name for them, the stores behind those, and archives."""
