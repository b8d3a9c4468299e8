"""Commands on the configuration: edit the candidate, see what a commit would do, commit, confirm, go back, prove.

One candidate is shared by every surface; each change remembers its author. `set` and `delete` take one path each and change the candidate
wholly or not at all; nothing reaches the running appliance before a commit. Values are written as in a site file (`5`, `true`, `"text"`,
`["a", "b"]`); a word without quotes is text where the setting is text. A refusal for wrong values carries every problem at once: the
error of the reply has `problems`, each with path, value, message, remedy and the allowed range, in English and Chinese. Secrets go in and
are never shown: they read "(hidden)", and a "(hidden)" that comes back leaves the secret as it is.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from firmware.config.diff import setting
from firmware.control.commands import Command, command

MAX_TEXT = 1 << 20
CONFIRM_S = 120
PathWord = Annotated[str, Meta(description="Path of the setting, for example queues.sales.ring_s", min_length=1, max_length=200)]
Note = Annotated[str, Meta(description="Why, in words, for whoever reads the revisions", max_length=200)]


class ProblemRow(Struct, frozen=True):
    """One wrong entry of a refusal. `allowed` is the range or the words that may stand there, "" where there is no such rule."""

    path: str
    value: str
    message: str
    remedy: str
    allowed: str = ""
    message_zh: str = ""
    remedy_zh: str = ""
    allowed_zh: str = ""


class ChangeRow(Struct, frozen=True):
    """One path that differs. `old`, `new`: the value as a site file writes it, "" where there is none; `apply`: see `PlanRow`."""

    path: str
    kind: str
    old: str
    new: str
    apply: str = ""
    author: str = ""
    """Who changed it in the candidate; "" where that is not known (a revision)."""


class CandidateResult(Struct, frozen=True):
    """State of the candidate after a change: `changes` paths differ from what runs; `problems` a commit would be refused for.

    `checked`: the whole was looked at; for a very large site that waits for `show plan` or the commit, the change itself does not.
    """

    changes: int
    problems: list[ProblemRow] = []
    checked: bool = True


class PlanRow(Struct, frozen=True):
    """How one path takes effect. `apply`: "live", "calls-drain" (new calls; audio once no call is up), "restart-port" (each line or
    telephone once it is idle), "restart" (the appliance starts anew once no call is up), "reboot"."""

    path: str
    apply: str
    says: str
    says_zh: str


class PlanResult(Struct, frozen=True):
    """What a commit does. `apply` is the farthest-reaching class of the rows, `calls` how many calls are up now."""

    apply: str
    calls: int
    summary: str
    summary_zh: str
    rows: list[PlanRow]
    problems: list[ProblemRow] = []


class CommitResult(Struct, frozen=True):
    """A configuration took effect (or takes effect as `waits` says). `deadline_s`: seconds left to confirm a trial, 0 without one."""

    revision: int
    changes: int
    apply: str
    state: str
    """"running", or "trial" until it is confirmed."""
    deadline_s: int = 0
    waits: str = ""
    """What is still to come, in words; "" when everything is in effect."""
    waits_zh: str = ""


class RevisionRow(Struct, frozen=True):
    """One configuration of the past; `back` is what `rollback` takes (0 is the present one). `hash`: SHA-256 of its content, 12 digits."""

    back: int
    revision: int
    time: str
    author: str
    note: str
    how: str
    """"commit", "commit confirmed", "rollback", "import", "upgrade"."""
    hash: str
    changes: int


class TrialResult(Struct, frozen=True):
    """What runs and what a start would run. `state`: "running" or "trial"; `reverted` says why the last trial was taken back."""

    state: str
    running: int
    startup: int
    deadline_s: int = 0
    author: str = ""
    candidate_changes: int = 0
    health: list[str] = []
    health_zh: list[str] = []
    reverted: str = ""
    reverted_zh: str = ""


class PartRow(Struct, frozen=True):
    """What one process runs, by content hash."""

    part: str
    hash: str
    right: bool
    says: str = ""
    says_zh: str = ""


class VerifyResult(Struct, frozen=True):
    """Proof that running equals stored: the hash of the stored file, and that of what each process really runs."""

    right: bool
    revision: int
    stored: str
    parts: list[PartRow]


class WordRow(Struct, frozen=True):
    """One word that may follow. `kind`: "table" (more words follow), "name" (a name of one's own choice), "value"."""

    word: str
    kind: str
    help: str
    help_zh: str
    path: str
    """The whole path as far as this word."""
    type: str = ""
    allowed: str = ""
    allowed_zh: str = ""
    default: str = ""
    unit: str = ""
    apply: str = ""
    role: str = ""
    secret: bool = False
    required: bool = False


@command(path="set", role="supervisor", result=CandidateResult, zh="修改候选配置中的一项", served="manage")
class ConfigurationSet(Command, frozen=True):
    """Change one setting of the candidate configuration."""

    setting: PathWord
    value: Annotated[str, Meta(description="Value as in a site file; none makes an empty entry", max_length=4000)] = ""

    def audited(self) -> dict[str, Any]:
        return {"setting": self.setting, "value": "(hidden)" if setting(self.setting).secret else self.value}


@command(path="delete", role="supervisor", result=CandidateResult, zh="删除候选配置中的一项", served="manage")
class ConfigurationDelete(Command, frozen=True):
    """Take one setting, or an entry with all below it, out of the candidate: a default is back, an entry is gone."""

    setting: PathWord


@command(path="load", role="admin", result=CandidateResult, zh="将整个站点文件载入候选配置", served="manage")
class ConfigurationLoad(Command, frozen=True):
    """Replace the candidate by a whole site file; refused with every mistake at once. Older schema versions are upgraded."""

    text: Annotated[str, Meta(description="The site file, TOML", max_length=MAX_TEXT)]

    def audited(self) -> dict[str, Any]:
        return {"characters": len(self.text)}


@command(path="discard", role="supervisor", result=CandidateResult, zh="放弃候选配置的修改", served="manage")
class ConfigurationDiscard(Command, frozen=True):
    """Give the changes of the candidate up: it is what runs again."""


@command(path="show candidate", role="supervisor", result=list[str], zh="显示候选配置", served="manage")
class ShowCandidate(Command, frozen=True):
    """Candidate configuration as `set` lines, secrets hidden."""

    under: Annotated[str, Meta(description="Only paths that begin so, for example ports.fxo")] = ""


@command(path="show diff", role="supervisor", result=list[ChangeRow], zh="显示配置差异", served="manage")
class ShowDiff(Command, frozen=True):
    """What differs, path by path: the candidate from what runs, or from an earlier revision."""

    since: Annotated[int, Meta(description="Revisions back, as `show revisions` counts; 0 is what runs", ge=0, le=50)] = 0


@command(path="show plan", role="supervisor", result=PlanResult, zh="显示提交将如何生效", served="manage")
class ShowPlan(Command, frozen=True):
    """What a commit of the candidate would do: which paths take effect at once, at which calls must end first."""


@command(path="commit", role="supervisor", result=CommitResult, zh="提交候选配置", served="manage")
class Commit(Command, frozen=True):
    """Put the candidate into effect and make it what the appliance starts with."""

    note: Note = ""


@command(path="commit confirmed", role="supervisor", result=CommitResult, zh="试用候选配置，到时未确认则自动恢复", served="manage")
class CommitConfirmed(Command, frozen=True):
    """Put the candidate into effect on trial: without `confirm` in time, or after a power cut, the configuration of before is back."""

    seconds: Annotated[int, Meta(description="Time to confirm, in seconds", ge=10, le=86_400)] = CONFIRM_S
    note: Note = ""


@command(path="confirm", role="supervisor", result=CommitResult, zh="确认试用的配置", served="manage")
class Confirm(Command, frozen=True):
    """Keep the configuration that is on trial."""


@command(path="rollback", role="supervisor", result=CommitResult, zh="恢复到以前的配置", served="manage")
class Rollback(Command, frozen=True):
    """Go back to an earlier configuration at once; a trial under way ends first."""

    back: Annotated[int, Meta(description="Revisions back, as `show revisions` counts", ge=1, le=50)] = 1
    note: Note = ""


@command(path="show revisions", role="supervisor", result=list[RevisionRow], zh="显示历史配置", served="manage")
class ShowRevisions(Command, frozen=True):
    """Configurations of the past, newest first: who, when, why."""


@command(path="show trial", role="viewer", result=TrialResult, zh="显示试用状态", served="manage")
class ShowTrial(Command, frozen=True):
    """Whether a configuration is on trial, how it does, and when it would be taken back."""


@command(
    path="verify configuration", role="supervisor", result=VerifyResult, zh="核对运行与存储的配置是否一致", mutates=False, served="manage"
)
class VerifyConfiguration(Command, frozen=True):
    """Prove that what every process runs is what is stored."""


@command(path="export configuration", role="admin", result=str, zh="导出站点文件", served="manage")
class ExportConfiguration(Command, frozen=True):
    """The running configuration as a site file; with `secrets` every secret is in it (audited)."""

    secrets: Annotated[bool, Meta(description="With secrets in clear")] = False


@command(path="complete", role="viewer", result=list[WordRow], zh="列出配置路径可用的下一个词", mutates=False, served="manage")
class Complete(Command, frozen=True):
    """Words that may follow in a path of the configuration, with help, type, range and default."""

    prefix: Annotated[str, Meta(description="Path so far; a dot at its end asks for what follows", max_length=200)] = ""


# --- between the processes -----------------------------------------------------------------------------------------------------


class WaitRow(Struct, frozen=True):
    """A path that only a new process takes, and its class (`PlanRow`)."""

    path: str
    apply: str


class NowResult(Struct, frozen=True):
    """What call control runs. `digest`: of the whole; `differs`: parts that hold another one; `control`: a new process of it is needed, and
    `ports` have calls that must end before."""

    digest: str
    differs: list[str]
    calls: int
    control: bool
    ports: list[str]
    waits: list[WaitRow] = []
    alarms: list[str] = []
    """Alarms of the configuration that are raised, by kind."""


@command(path="configuration take", role="admin", result=NowResult, zh="（内部）呼叫控制采用新配置", mutates=False)
class ConfigurationTake(Command, frozen=True):
    """Management tells call control to take the configuration in force; not for people."""

    digest: Annotated[str, Meta(description="Its fingerprint", pattern=r"^[0-9a-f]{64}$")]
    alarms: Annotated[dict[str, list[str]], Meta(description="Alarms of the configuration by kind: English, Chinese")] = {}


@command(path="configuration now", role="supervisor", result=NowResult, zh="呼叫控制当前运行的配置", mutates=False)
class ConfigurationNow(Command, frozen=True):
    """What call control runs, by fingerprint, and what waits for a new start of it."""
