"""Lineage as OpenLineage events, one COMPLETE run a release, made and serialised by the OpenLineage client library (extra `lineage`).

The job is the recipe, the inputs are its sources and the releases that it came from, the output is the dataset under its version. Nothing
is sent anywhere: the events are lines of JSON for whoever collects them.
"""

from __future__ import annotations

import re
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

from synthmill.errors import InputError
from synthmill.lineage.family import Family
from synthmill.lineage.trace import Lineage
from synthmill.store.provenance import SourceEntry, read_provenance
from synthmill.store.upstream import find_upstream

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent
    from openlineage.client.generated.base import DatasetFacet, InputDatasetFacet

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?://(?P<host>[^/]*)/?)?(?P<path>.*)")
_SECRETS = re.compile(r"(?<=://)[^/@]+@")
_NO_LIBRARY = "`pip install 'synthmill[lineage]'` brings it"


def events(lineage: Lineage, family: Family) -> list[str]:
    """JSON of one event for each release of the tree, ancestors first; InputError where the library is not installed."""
    try:
        from openlineage.client.event_v2 import set_producer
        from openlineage.client.serde import Serde
    except ImportError as error:
        what = "the OpenLineage client library is not installed"
        raise InputError(what, where="--openlineage", hint=_NO_LIBRARY) from error
    set_producer(_producer())  # of every facet
    namespace = _namespace(family)
    ordered = {one.told.release.tag: one for one in lineage}
    return [Serde.to_json(_event(one, namespace)) for one in ordered.values()]


def _event(one: Lineage, namespace: str) -> RunEvent:
    from openlineage.client.event_v2 import Run, RunEvent, RunState
    from openlineage.client.facet_v2 import processing_engine_run

    release = one.told.release
    engine = processing_engine_run.ProcessingEngineRunFacet(version=version("synthmill"), name="synthmill")
    return RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=release.date,
        run=Run(runId=_run_id(one), facets={"processing_engine": engine}),
        job=_job(one, namespace),
        producer=_producer(),
        inputs=_inputs(one, namespace),
        outputs=[_output(one, namespace)],
    )


def _producer() -> str:
    return f"urn:synthmill:{version('synthmill')}"


def _run_id(one: Lineage) -> str:
    """The run's own id where runs/ has it, else one that is the same whenever it is asked for."""
    try:
        return str(uuid.UUID(str(one.run.get("run", ""))))
    except ValueError:
        release = one.told.release
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"synthmill:{release.commit}:{release.tag}"))


def _job(one: Lineage, namespace: str) -> Job:
    from openlineage.client.event_v2 import Job
    from openlineage.client.facet_v2 import job_type_job, source_code_location_job

    release, recipe = one.told.release, one.told.recipe
    code = source_code_location_job.SourceCodeLocationJobFacet(
        type="git", url=namespace, repoUrl=namespace, path=recipe, version=release.commit, tag=release.tag
    )
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="SYNTHMILL", jobType="RECIPE")
    return Job(
        namespace=namespace, name=recipe or release.dataset, facets={"sourceCodeLocation": code, "jobType": kind}
    )


def _inputs(one: Lineage, namespace: str) -> list[InputDataset]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    sources = [_input(source, namespace) for source in one.told.sources]
    for parent in one.parents:
        if parent.is_certain:
            dataset, _, number = parent.tag.partition("@")
            facet = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=number)
            sources.append(InputDataset(namespace=namespace, name=dataset, facets={"version": facet}))
    return sources


def _input(source: SourceEntry, namespace: str) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, input_statistics_input_dataset

    match = _URI.fullmatch(source.uri)
    place, name = namespace, source.uri
    if match is not None:
        place = match["scheme"] if match["host"] is None else f"{match['scheme']}://{match['host']}"
        name = match["path"] or "/"
    facets: dict[str, DatasetFacet] = {}
    statistics: dict[str, InputDatasetFacet] = {}
    if source.fingerprint:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=source.fingerprint)
    if source.train_rows is not None:
        kind = input_statistics_input_dataset.InputStatisticsInputDatasetFacet
        statistics["inputStatistics"] = kind(rowCount=source.train_rows)
    return InputDataset(namespace=place, name=name, facets=facets, inputFacets=statistics)


def _output(one: Lineage, namespace: str) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        data_quality_metrics_dataset,
        dataset_version_dataset,
        output_statistics_output_dataset,
        schema_dataset,
    )

    release, out, known = one.told.release, one.told.out, read_provenance(one.told.release.metrics)
    columns = () if known is None else known.columns
    fields = [schema_dataset.SchemaDatasetFacetFields(name=c.name, type=c.dtype, description=c.kind) for c in columns]
    quality = data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
        columnMetrics={}, rowCount=release.rows, bytes=out.size_bytes, fileCount=out.files
    )
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=release.rows, size=out.size_bytes, fileCount=out.files
    )
    number = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str(release.version))
    schema = {"schema": schema_dataset.SchemaDatasetFacet(fields=fields)} if fields else {}
    return OutputDataset(
        namespace=namespace,
        name=release.dataset,
        facets={"version": number, "dataQualityMetrics": quality, **schema},
        outputFacets={"outputStatistics": statistics},
    )


def _namespace(family: Family) -> str:
    """The git remote without a password in it, which all clones share; else the folder of this workspace."""
    upstream = find_upstream(family.git)
    url = None if upstream is None else family.git.answer("remote", "get-url", upstream.remote)
    return _SECRETS.sub("", url) if url else family.workspace.root.as_uri()
