"""Values that stand in a secret: looked up at the moment of acting, masked in everything that is shown."""

from __future__ import annotations

from exeunt.actions.arguments import BadArguments
from exeunt.actions.context import Context
from exeunt.language.actions import Source


async def secret(source: Source, where: str, context: Context) -> str:
    """The text behind a `…From`. Raises BadArguments, with `where` it was asked for."""
    key = source.secret_key_ref
    if context.tools.secret is None:
        raise BadArguments(f"{where}: this service has no store of secrets; name the value in its settings instead")
    try:
        value = await context.tools.secret(context.namespace, key.name, key.key)
    except LookupError as error:
        raise BadArguments(f"{where}: {error.args[0] if error.args else error}") from None
    context.masker.add(value)
    return value


async def secret_or(source: Source | None, default: str, where: str, context: Context) -> str:
    """The text behind a `…From`, or the setting when there is none."""
    if source is None:
        if default:
            context.masker.add(default)
        return default
    return await secret(source, where, context)
