"""Values from secrets: looked up when they are needed, and masked in everything that is shown."""

from __future__ import annotations

from exeunt.actions.arguments import BadArguments
from exeunt.actions.context import Context
from exeunt.language.actions import SecretKey, Source
from exeunt.language.secret import SecretMissing, SecretUnreadable


async def secret(source: Source, where: str, context: Context) -> str:
    """The text that a `…From` field names; empty when it is optional and missing.

    Raises BadArguments, with `where` it is named.
    """
    return await look_up(source.secret_key_ref, where, context)


async def look_up(key: SecretKey, where: str, context: Context) -> str:
    """The text of a key of a secret, without a line end behind it; otherwise like `secret`."""
    ask = context.look_up or context.tools.secret
    if ask is None:
        raise BadArguments(f"{where}: this service has no store of secrets; name the value in its settings instead")
    try:
        value = await ask(context.namespace, key.name, key.key)
    except SecretMissing as error:
        if key.optional:
            return ""
        raise BadArguments(f"{where}: {error.args[0]}") from None
    except SecretUnreadable as error:
        raise BadArguments(f"{where}: {error.args[0]}") from None
    value = value.rstrip("\r\n")
    context.masker.add(value)
    return value


async def secret_or(source: Source | None, default: str, where: str, context: Context) -> str:
    """The text that a `…From` field names; `default`, the setting, without one or where its secret is missing."""
    value = await secret(source, where, context) if source is not None else ""
    if value:
        return value
    if default:
        context.masker.add(default)
    return default
