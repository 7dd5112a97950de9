"""From a candidate that passed its gates to the request that the workspace releases."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from synthmill.candidates import Candidate
from synthmill.console import Reporter
from synthmill.errors import InputError, Interrupted, ReleaseError, SupersededError
from synthmill.figures import make_metrics, make_plots
from synthmill.fingerprint import fingerprint
from synthmill.outcome import Outcome
from synthmill.sources import is_file_source
from synthmill.spec import Recipe
from synthmill.store.ancestors import lineage
from synthmill.store.catch_up import catch_up_with_remote
from synthmill.store.git import Git
from synthmill.store.lock import ShouldStop
from synthmill.store.placement import ReleaseRequest
from synthmill.store.provenance import provenance
from synthmill.store.pushes import forget_push
from synthmill.store.release_steps import place, release
from synthmill.store.versions import Identity
from synthmill.store.workspace import Workspace

_JUDGEMENTS = 40  # of one candidate, while other clones release the same dataset


def publish(
    workspace: Workspace,
    recipe: Path,
    recipe_sha256: str,
    candidate: Candidate,
    judge: Callable[[], Outcome],
    reporter: Reporter,
    should_stop: ShouldStop,
    *,
    to_release: bool,
) -> Outcome:
    """Place or release the candidate; the outcome with its new path and, once released, its version. Stops between steps.

    `judge` holds the candidate against its gates and the releases that there are, and raises where one blocks. It is asked again when
    another clone releases the dataset meanwhile: verdicts and report compare with the release before.
    """
    dataset = candidate.plan.recipe.dataset
    for _ in range(_JUDGEMENTS):
        if to_release:
            catch_up_with_remote(workspace, dataset, reporter.say)
        outcome = judge()
        try:
            return _publish(
                workspace, recipe, recipe_sha256, candidate, outcome, reporter, should_stop, to_release=to_release
            )
        except SupersededError as error:
            reporter.say(f"release: {error.what}; judged again")
    hint = "run again when fewer release it"
    raise ReleaseError(f"others keep releasing {dataset}", where=str(workspace.root), hint=hint)


def _publish(
    workspace: Workspace,
    recipe: Path,
    recipe_sha256: str,
    candidate: Candidate,
    outcome: Outcome,
    reporter: Reporter,
    should_stop: ShouldStop,
    *,
    to_release: bool,
) -> Outcome:
    request = _request(workspace, recipe, recipe_sha256, candidate, outcome)
    if outcome.override is not None:
        reporter.say(f"override: {len(outcome.blocked)} blocked, because: {outcome.override}")
    for dep in request.deps:
        if not _is_tracked(workspace.root, dep):
            reporter.say(
                f"note: neither git nor DVC tracks {dep}, so a clone cannot repeat this run; `dvc add {dep}` mends it"
            )
    if not to_release:
        path = place(workspace, request, reporter.say)
        candidate.settle("placed")
        return outcome.model_copy(update={"path": str(path)})

    def say(line: str) -> None:
        if should_stop() and line != "release: done":
            raise Interrupted(f"stopped before {line}", hint="run again: the release goes on from there")
        reporter.say(line)

    try:
        released = release(workspace, request, say, should_stop)
    except SupersededError:
        raise
    except ReleaseError as error:
        if should_stop():  # a Ctrl-C in the terminal ends git and DVC too
            raise Interrupted(error.what, hint="run again: the release goes on from there") from error
        raise
    version = str(released.release.version)
    candidate.settle(f"released as {version}")
    forget_push(workspace.root, request.dataset)
    return outcome.model_copy(update={"path": str(released.path), "version": version, "is_new": released.is_new})


def identity_of(candidate: Candidate) -> Identity:
    """What the version of its release is decided by."""
    schema = candidate.manifest().schema_.model_dump(mode="json")
    plan = candidate.plan
    return Identity(schema=fingerprint("schema", schema), code=plan.identity, plan=plan.fingerprint)


def _dependencies(root: Path, recipe: Recipe) -> Iterator[str]:
    """The files of the sources that DVC can hash: those in the workspace, relative to it."""
    for uri in recipe.uris:
        if is_file_source(uri):
            path = (root / uri).resolve()
            if path.is_relative_to(root):
                yield path.relative_to(root).as_posix()


def _is_tracked(root: Path, path: str) -> bool:
    places = [root / path, *(root / path).parents]
    if any(place.with_name(f"{place.name}.dvc").is_file() for place in places if root in place.parents):
        return True
    return bool(Git(root).answer("ls-files", "--", path))


def _request(
    workspace: Workspace, recipe: Path, recipe_sha256: str, candidate: Candidate, outcome: Outcome
) -> ReleaseRequest:
    plan = candidate.plan
    recipe_path = relative(workspace, recipe)
    told = plan.model_copy(update={"children": tuple(child.plan for child in candidate.children)})  # with their rows
    return ReleaseRequest(
        dataset=plan.recipe.dataset,
        recipe=recipe_path,
        recipe_sha256=recipe_sha256,
        deps=tuple(_dependencies(workspace.root, plan.recipe)),
        candidate=candidate.folder,
        metrics=make_metrics(plan.rows, outcome.scores, lineage(plan), outcome.children, provenance(told)),
        plots=make_plots(candidate.measured()),
        identity=identity_of(candidate),
        run_id=uuid4().hex,
        run={
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": user_name(),
            "rows": plan.rows,
            "level": outcome.level,
            "seconds": outcome.seconds,
            "outcome": "released",
            **({"override": outcome.override} if outcome.override else {}),
        },
        previous=outcome.previous,
    )


def relative(workspace: Workspace, recipe: Path) -> str:
    """The recipe's path in the workspace; InputError where it lies outside, since a release commits it."""
    try:
        return recipe.resolve().relative_to(workspace.root).as_posix()
    except ValueError:
        hint = f"copy it to {workspace.root / 'recipes'}"
        raise InputError(
            "the recipe lies outside the workspace, so it cannot be released", where=str(recipe), hint=hint
        ) from None


def user_name() -> str:
    """Who runs this, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        return "unknown"
