"""sdedge doctor"""

from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json
from sdedge.escape import printable
from sdedge.paths import checked_path

_STYLES = {"ok": "green", "limited": "yellow", "missing": "red"}


@guarded
def doctor(data_root: options.DataRoot = None, json_output: options.Json = False) -> None:
    """Say what this machine can run, and why not the rest."""
    from sdedge.environment import diagnose

    findings = diagnose(checked_path(data_root or "data"))
    if json_output:
        print_json({"findings": [asdict(finding) for finding in findings]})
        return
    listed = Table("", "state", "detail")
    for finding in findings:
        style = _STYLES[finding.status]
        listed.add_row(
            finding.subject, Text(finding.status, style=style), Text(printable(finding.detail))
        )
    console().print(listed, soft_wrap=False)
