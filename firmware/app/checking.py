"""`branchpbx check`: every mistake of a site file, for people in both languages and for machines."""

from __future__ import annotations

import json

from firmware.app.site import Site
from firmware.config.problems import Problem
from firmware.config.problems_zh import allowed_of, chinese


def told(problem: Problem, language: str) -> str:
    """One line for people."""
    if language != "zh":
        return problem.text()
    value = f" = {problem.value}" if problem.value else ""
    return f"{problem.file}: {problem.path}{value}：{chinese(problem.message)}；{chinese(problem.remedy)}"


def facts(problem: Problem) -> dict[str, str]:
    """One mistake for machines: the same in both languages, and the range by itself."""
    allowed = allowed_of(problem.remedy)
    return {
        "file": problem.file, "path": problem.path, "value": problem.value, "message": problem.message, "remedy": problem.remedy,
        "allowed": allowed, "message_zh": chinese(problem.message), "remedy_zh": chinese(problem.remedy), "allowed_zh": chinese(allowed),
        "text": problem.text(), "text_zh": told(problem, "zh"),
    }  # fmt: skip


def report(site: Site, language: str, machine: bool) -> tuple[str, int]:
    """What `check` says, and its status: 2 for a file with mistakes."""
    status = 2 if site.problems else 0
    if machine:
        errors = [facts(problem) for problem in site.problems]
        body = {"file": site.file, "ok": not site.problems, "errors": errors, "missing_clips": site.missing_clips}
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n", status
    lines = [told(problem, language) for problem in site.problems]
    count, clips = len(site.problems), len(site.missing_clips)
    if language == "zh":
        lines += [f"{site.file}：缺少语音 {clip}" for clip in site.missing_clips]
        lines.append(f"{site.file}：" + (f"有 {count} 处错误" if count else "正确") + (f"；缺少 {clips} 个语音" if clips else ""))
    else:
        lines += [f"{site.file}: missing clip {clip}" for clip in site.missing_clips]
        verdict = f"has {count} mistake{'' if count == 1 else 's'}" if count else "is right"
        lines.append(f"{site.file} {verdict}" + (f"; {clips} clip{'' if clips == 1 else 's'} missing" if clips else ""))
    return "\n".join(lines) + "\n", status
