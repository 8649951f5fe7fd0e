"""Tests of exeunt.client."""
