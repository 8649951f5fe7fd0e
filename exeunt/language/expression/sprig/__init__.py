"""Sprig's functions, as Argo offers them: `sprig.trim(x)`.

Beside `env` and `expandenv`, which Argo takes away, those are missing that would reach outside (`getHostByName`) or
make secrets (keys, certificates, passwords): what an expression gives is written into the log and shown to people.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from exeunt.language.expression.errors import ExpressionError
from exeunt.language.expression.signature import Registry
from exeunt.language.expression.sprig.data import DATA
from exeunt.language.expression.sprig.numbers import NUMBERS
from exeunt.language.expression.sprig.other import OTHER
from exeunt.language.expression.sprig.texts import TEXTS
from exeunt.language.expression.values import Function

_REFUSED: Final = {
    "it reads the environment of the service": ("env", "expandenv"),
    "it asks the network": ("getHostByName",),
    "what an expression gives is stored and shown, so it makes no secrets": (
        "bcrypt", "htpasswd", "genPrivateKey", "derivePassword", "buildCustomCert", "genCA", "genCAWithKey",
        "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "encryptAES",
        "decryptAES",
    ),
}  # fmt: skip


def _refused(name: str, reason: str) -> Function:
    def run(_: Any, *__: Any) -> NoReturn:
        raise ExpressionError(f"sprig.{name} is not offered: {reason}")

    return Function(name, run)


SPRIG: Final = Registry()
for functions in (TEXTS, DATA, NUMBERS, OTHER):
    SPRIG.update(functions)
SPRIG.update({name: _refused(name, reason) for reason, names in _REFUSED.items() for name in names})
