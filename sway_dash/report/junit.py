"""A suite result as JUnit XML, for CI systems."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sway_dash.core.result import SuiteResult, SwayScore, Verdict
from sway_dash.report.formats import printable

if TYPE_CHECKING:
    from sway_dash.suite.gate import Gate

_CHILD = {
    Verdict.FAIL: ("failure", "failed"),
    Verdict.ERROR: ("error", "errored"),
    Verdict.SKIP: ("skipped", "skipped"),
}
_ENDS = {
    "cancelled": "the run was cancelled",
    "failed": "the run failed",
    "interrupted": "the run was interrupted",
    "running": "the run has not ended",
}


def to_junit(suite: SuiteResult, score: SwayScore, *, gate: Gate | None = None) -> str:
    """Return the result as one line of XML: one test case a probe, the score as properties.

    A run that did not reach its end gets one more case, with an error: what was not measured must not
    look green. So does a ``gate``, which fails with all its reasons.
    """
    count = {v: sum(p.verdict == v for p in suite.probes) for v in Verdict}
    broken = suite.status != "finished"
    gated = gate is not None
    shut = gate is not None and not gate.passed
    root = ET.Element(
        "testsuite",
        {
            "name": "sway",
            "tests": str(len(suite.probes) + broken + gated),
            "failures": str(count[Verdict.FAIL] + shut),
            "errors": str(count[Verdict.ERROR] + broken),
            "skipped": str(count[Verdict.SKIP]),
            "time": f"{suite.wall_seconds:.3f}",
        },
    )
    properties = ET.SubElement(root, "properties")
    values = {"overall": f"{score.overall:.4f}", "band": score.band}
    values |= {f"component.{name}": f"{value:.4f}" for name, value in score.components.items()}
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": printable(name), "value": printable(value)})
    for probe in suite.probes:
        case = ET.SubElement(
            root,
            "testcase",
            {"classname": printable(probe.kind), "name": printable(probe.name), "time": f"{probe.duration_s:.3f}"},
        )
        if probe.verdict in _CHILD:
            tag, default = _CHILD[probe.verdict]
            ET.SubElement(case, tag, {"message": printable(probe.message) or default})
    if broken:
        case = ET.SubElement(root, "testcase", {"classname": "sway", "name": "run", "time": "0.000"})
        reason = "; ".join((_ENDS.get(suite.status, f"the run is {suite.status}"), *suite.warnings))
        ET.SubElement(case, "error", {"message": printable(reason)})
    if gate is not None:
        case = ET.SubElement(root, "testcase", {"classname": "sway", "name": "gate", "time": "0.000"})
        if not gate.passed:
            ET.SubElement(case, "failure", {"message": printable("; ".join(gate.reasons))})
    return ET.tostring(root, encoding="unicode")


def refused(what: str, message: str) -> str:
    """The XML of a command, ``run`` or ``gate``, that was refused before anything was measured: one error."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0.000"}
    root = ET.Element("testsuite", {"name": "sway", **counts})
    case = ET.SubElement(root, "testcase", {"classname": "sway", "name": what, "time": "0.000"})
    ET.SubElement(case, "error", {"message": printable(message)})
    return ET.tostring(root, encoding="unicode")
