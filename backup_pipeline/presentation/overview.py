"""The overview in words: one sentence that is true, the worst first, and what each system's lines say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from backup_pipeline.core.due import DueState
from backup_pipeline.core.schedule import in_words
from backup_pipeline.core.verification import age
from backup_pipeline.operations.overview import Overview, SystemState, problems
from backup_pipeline.presentation import Tone

_MOST = 4


@dataclass(frozen=True)
class Hero:
    """The sentence, what it means, and the sentences below it."""

    tone: Tone
    title: str
    lines: tuple[str, ...]


def hero(seen: Overview) -> Hero:
    """What somebody is told who reads one sentence. It is good only when every system is fresh, and nothing is open."""
    wrong = list(problems(seen))
    failures = [sentence for severity, sentence in wrong if severity == "failure"]
    known = tuple(_known(seen))
    if not seen.systems:
        return Hero(Tone.WARNING, "Nothing is protected: no system is declared.", ())
    if failures:
        title = _head(failures) if len(failures) == 1 else f"{len(failures)} things are wrong. {_head(failures)}"
        return Hero(Tone.FAILURE, title, (*_rest(wrong, failures[0]), *known))
    if wrong:
        first = wrong[0][1]
        title = _head([first]) if len(wrong) == 1 else f"{len(wrong)} things want a look. {_head([first])}"
        return Hero(Tone.WARNING, title, (*_rest(wrong, first), *known))
    return Hero(Tone.GOOD, "Everything is protected.", known)


def _head(sentences: list[str]) -> str:
    return sentences[0].partition(". ")[0].rstrip(".") + "."


def _rest(wrong: list[tuple[str, str]], first: str) -> Iterator[str]:
    """What the title does not say, and no more than people read."""
    more = first.partition(". ")[2]
    if more:
        yield more
    others = [sentence for _, sentence in wrong if sentence != first]
    yield from others[:_MOST]
    if len(others) > _MOST:
        yield f"And {len(others) - _MOST} more."


def _known(seen: Overview) -> Iterator[str]:
    newest, following = seen.newest, seen.next
    if newest is not None and newest.newest is not None:
        rows = f", {newest.newest.record_count:,} rows" if newest.newest.record_count is not None else ""
        yield f"Newest: {name_of(newest)}, {age(newest.newest.created_at, seen.at)}{rows}."
    if following is not None and following.freshness.next_due is not None:
        yield f"Next: {name_of(following)}, {on_the_clock(following.freshness.next_due, following, seen.at)}."
    yield from _proofs(seen)


def _proofs(seen: Overview) -> Iterator[str]:
    proven = [state for state in seen.systems if state.rehearsed is not None]
    open_ = [name_of(state) for state in seen.systems if state.rehearsed is None and state.newest is not None]
    if proven:
        last = max(proven, key=_drilled_at)
        ago = age(_drilled_at(last), seen.at)
        yield f"Proven: {name_of(last)}, restored into a scratch database and compared, {ago}."
    if open_:
        names = ", ".join(open_[:_MOST]) + (f" and {len(open_) - _MOST} more" if len(open_) > _MOST else "")
        yield f"Not proven by a drill yet: {names}."


def _drilled_at(state: SystemState) -> datetime:
    verification = state.rehearsed.verification if state.rehearsed else None
    return verification.at if verification else datetime.min.replace(tzinfo=UTC)


def name_of(state: SystemState) -> str:
    """The system as people call it."""
    return state.catalog.title or state.catalog.catalog


def on_the_clock(at: datetime, state: SystemState, now: datetime) -> str:
    """An instant to come in words, by the clock of the system: `today 00:00 (in 9 hours)`."""
    zone = ZoneInfo(state.catalog.timezone)
    local, today = at.astimezone(zone), now.astimezone(zone).date()
    days = (local.date() - today).days
    day = {0: "today", 1: "tomorrow"}.get(days, f"{local:%A}, {local.day} {local:%B}")
    return f"{day} {local:%H:%M} (in {in_words(at - now)})" if at > now else f"{day} {local:%H:%M} (now)"


def tone_of_state(state: SystemState) -> tuple[Tone, str]:
    """What a system's card is headed with: a tone and a word."""
    if state.damaged:
        return Tone.FAILURE, "Damaged"
    words = {
        DueState.FRESH: (Tone.GOOD, "Protected"),
        DueState.OVERDUE: (Tone.FAILURE, "Overdue"),
        DueState.WAITING: (Tone.WARNING, "No backup yet"),
        DueState.UNSCHEDULED: (Tone.WARNING, "Not scheduled"),
    }
    return words[state.freshness.state]
