"""AsyncAPI's own parser reads docs/asyncapi.yaml."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.outside.tools import npm

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
PARSER = "@asyncapi/parser@3.6.6"
SCRIPT = """
const fs = require("fs");
const { Parser } = require("@asyncapi/parser");
new Parser().parse(fs.readFileSync(process.argv[1], "utf8")).then(({ document, diagnostics }) => {
  const wrong = diagnostics.filter((one) => one.severity <= 1);
  for (const one of wrong) console.log(`${one.path.join(".")}: ${one.message}`);
  if (document) console.log(`${document.version()}: ${document.allMessages().all().length} messages`);
  process.exit(document && !wrong.length ? 0 : 1);
});
"""


@pytest.mark.timeout(180)
def test_asyncapi_reads_the_document(tmp_path: Path) -> None:
    npm(tmp_path, PARSER)
    command = ["node", "-e", SCRIPT, str(DOCUMENT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
