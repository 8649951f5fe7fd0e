"""What there are kinds of stands in one table on each floor, and each table has all kinds."""

from __future__ import annotations

from exeunt.engine.values.leaf import NODE_KINDS
from exeunt.language.manifest import Template
from exeunt.language.template_types import TEMPLATE_TYPES


def test_every_type_of_template_makes_a_node() -> None:
    assert list(NODE_KINDS) == list(TEMPLATE_TYPES)
    for name, row in TEMPLATE_TYPES.items():
        assert (
            dict(zip(Template.__struct_encode_fields__, Template.__struct_fields__, strict=True))[name] == row.attribute
        )
        assert (NODE_KINDS[name].work is not None) == (row.leaf and row.built)
