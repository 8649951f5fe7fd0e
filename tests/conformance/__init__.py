"""Argo's own examples on the real services, one row of ../shared/argo/examples.tsv after the other."""
