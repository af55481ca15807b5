"""What `hfpc doctor` found, a line each."""

from rich.console import Console
from rich.text import Text

from hfpc.doctor import Finding

_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "problem": ("✗", "bold red")}


def print_findings(console: Console, findings: list[Finding]) -> None:
    """Each finding with a mark, and a problem with its fix."""
    for finding in findings:
        mark, style = _MARKS[finding.level]
        line = Text.assemble((mark, style), f" {finding.what}: {finding.found}")
        if finding.fix:
            line.append(f" → {finding.fix}", style="yellow" if finding.level == "problem" else "dim")
        console.print(line, soft_wrap=True)
    problems = sum(finding.level == "problem" for finding in findings)
    console.print("no problems found" if not problems else f"{problems} problem{'s' * (problems > 1)} found")


def print_troubles(console: Console, findings: list[Finding]) -> bool:
    """What is not as it must be; returns whether there is a problem among it."""
    print_findings(console, [finding for finding in findings if finding.level != "ok"])
    return any(finding.level == "problem" for finding in findings)
