"""Exeunt: Argo Workflow YAML on a small cluster of gRPC services, whose exit handlers always run."""

__version__ = "0.1.0"
