"""The workflow language: Argo manifests, loaded, checked and filled in. Pure: no I/O, no clock."""
