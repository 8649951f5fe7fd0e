"""AsyncAPI's own parser reads docs/asyncapi.yaml: `python -m tests.outside.asyncapi [FOLDER]`.

The parser comes from npm into a folder that goes afterwards, or stays where the argument says. Skipped with a word
where node or its registry is not there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
PARSER = "@asyncapi/parser@3"
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


def main(folder: str) -> int:
    """Installs the parser and reads the document with it; 0 also when that cannot be tried."""
    if not (shutil.which("node") and shutil.which("npm")):
        print("skipped: there is no node here")
        return 0
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, PARSER]
    try:
        installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        print("skipped: npm does not come to an end")
        return 0
    if installed.returncode:
        print(f"skipped: npm cannot install {PARSER}: {installed.stderr.strip()[-300:]}")
        return 0
    return subprocess.run(["node", "-e", SCRIPT, str(DOCUMENT)], cwd=folder, check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1]))
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(made))
