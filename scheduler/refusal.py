"""What is wrong with a submission, in terms of the request: which of its fields, and where in which document."""

from __future__ import annotations

from collections.abc import Sequence

from exeunt.language.problems import Problem
from exeunt.service.errors import RpcError, invalid
from exeunt.v1 import workflow_service_pb2 as pb

TOLD_BYTES = 4000  # of problems in an error: gRPC carries them in headers, and clients take 8 KB of those

Documents = list[tuple[str, str]]


def named(documents: Sequence[pb.Document]) -> Documents:
    """Names and texts of documents; of two that have the same name the second one is told apart."""
    found: Documents = []
    taken: set[str] = set()
    for number, document in enumerate(documents, 1):
        name = document.file or "-"
        if name in taken:
            name = f"{name} (document {number})"
        taken.add(name)
        found.append((name, document.text))
    return found


def refused(problems: list[Problem], documents: Documents, request: pb.SubmitWorkflowRequest) -> RpcError:
    """INVALID_ARGUMENT with a violation for each error, as far as a gRPC error can carry them."""
    errors = [problem for problem in problems if not problem.warning]
    violations: list[tuple[str, str]] = []
    room = TOLD_BYTES
    for problem in errors:
        field, text = _violation(problem, documents, request)
        room -= len(text.encode()) + len(field) + 8
        if violations and room < 0:
            violations.append(("", f"… and {len(errors) - len(violations)} more; lint shows all of them"))
            break
        violations.append((field[:500], text[: TOLD_BYTES // 2]))
    first = violations[0][1][:500] if violations else "the manifest is refused"
    summary = first if len(errors) == 1 else f"{len(errors)} problems, the first: {first}"
    return invalid(summary, violations, reason="INVALID_MANIFEST")


def shown(problem: Problem, documents: Documents) -> pb.Problem:
    """A problem as an answer has it."""
    return pb.Problem(
        file=problem.file,
        line=problem.line,
        path=problem.path,
        message=problem.message,
        warning=problem.warning,
        document=_index(problem, documents),
    )


def _violation(problem: Problem, documents: Documents, request: pb.SubmitWorkflowRequest) -> tuple[str, str]:
    """The field, and what is wrong there: what the request itself has put in the manifest's place is no line of it."""
    given = {
        "metadata.name": ("name", request.name),
        "metadata.generateName": ("generate_name", request.generate_name),
        "spec.entrypoint": ("entrypoint", request.entrypoint),
    }
    field, value = given.get(problem.path, ("", ""))
    if value:
        return field, problem.message
    if any(problem.path in (f"metadata.labels.{key}", f'metadata.labels["{key}"]') for key in request.labels):
        return "labels", problem.message
    where = f"documents[{_index(problem, documents)}]"
    return f"{where}.{problem.path}" if problem.path else f"{where}.text", str(problem)


def _index(problem: Problem, documents: Documents) -> int:
    return next((number for number, (name, _) in enumerate(documents) if name == problem.file), 0)
