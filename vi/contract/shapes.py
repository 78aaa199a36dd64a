"""The documents of the protocol as data, and how an answer differs from them.

A shape is a type name, a `Document`, a list, a map, or a set of known words. Sections are those of the wire contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

Kind = Literal["missing", "type", "unknown field", "new value"]


@attrs.frozen
class Field:
    """One field: its shape, and what a client does without it.

    *needed* fields identify or move bytes: without one the feature that reads it fails. Others are filled with None.
    """

    shape: Shape
    required: bool = True
    needed: bool = False


@attrs.frozen
class Document:
    """A JSON object with known fields."""

    fields: Mapping[str, Field]


@attrs.frozen
class ListOf:
    """A JSON array of one shape."""

    item: Shape


@attrs.frozen
class MapOf:
    """A JSON object whose names are free."""

    value: Shape


@attrs.frozen
class Word:
    """Text of a known set; another word is kept by the client as it is."""

    known: frozenset[str]


Shape = Document | ListOf | MapOf | Word | Literal["text", "integer", "time", "number", "boolean", "scalar", "any"]


@attrs.frozen
class Difference:
    """One place where an answer differs from its shape; *path* names fields only, never values."""

    path: str
    kind: Kind
    expected: str
    came: Any
    needed: bool


def word(*known: str) -> Word:
    """Return the shape of a known set of words."""
    return Word(frozenset(known))


def document(**fields: Shape | Field) -> Document:
    """Return the shape of an object; a bare shape is a required field."""
    return Document({name: one if isinstance(one, Field) else Field(one) for name, one in fields.items()})


def need(shape: Shape) -> Field:
    """Mark a field without which its feature fails."""
    return Field(shape, needed=True)


def maybe(shape: Shape) -> Field:
    """Mark a field that may be absent or null."""
    return Field(shape, required=False)


METADATA = document(timeCreated="time", lastUpdated="time", generation="integer", attributes=MapOf("text"))
CONDITION = document(
    condition=need(word("Started", "Finished")),
    status=need(word("Waiting", "Reached", "FailedReach")),
    lastTransitionTime="time",
    reason=maybe("text"),
    message=maybe("text"),
)
CONTENTS = document(url=need("text"), expiry=need("time"), headers=maybe(MapOf("text")), method=maybe("text"))

ORGANIZATION = document(
    name="text",
    kind="text",
    workspaceId=need("text"),
    lastAccess="time",
    datasets=ListOf("text"),
    billing=document(payer="text", email="text", subscriberId="text", ledger=ListOf("any"), tier="text"),
    users=MapOf(document(workspaceRole="text", datasets=MapOf("text"))),
    metadata=document(
        createDate=maybe("time"), isPublic=maybe("boolean"), accountManager=maybe("any"), salesEngineer=maybe("any")
    ),
    features=MapOf("any"),
    lockStatus=document(isLocked="boolean", lockDate=maybe("time")),
    selfLink="text",
    etag="text",
)

DATASET = document(
    kind=maybe(word("Dataset")),
    datasetId=need("text"),
    name=need("text"),
    owner="text",
    workspaceId="text",
    type=word("phrase-grounding", "vqa", "freeform"),
    content=word("Image"),
    createDate="time",
    statistic=document(
        assetTotal="integer", annotationTotal="integer", tagsCount=MapOf("integer"), assetAnnotated="integer"
    ),
    users=MapOf("any"),
    tags=MapOf("integer"),
    cohorts=ListOf("any"),
    status="integer",
    lastAccessed="time",
    isLocked="boolean",
    access=document(isPublic=maybe("boolean"), isReadOnly=maybe("boolean"), isHidden=maybe("boolean")),
    preference=MapOf("any"),
    assetStatuses=MapOf("any"),
    selfLink="text",
    etag="text",
    localization=maybe(word("Datature/Multi")),
    dataLocalization=maybe(word("Datature/Multi")),
    description=maybe("text"),
    tagDetails=maybe("any"),
    isDemoProject=maybe("boolean"),
    deleteOp=maybe("any"),
    bypassQuota=maybe("boolean"),
    metadata=maybe("any"),
)

SIMPLE_DATASET = document(datasetId="text", name="text")

_SIZE = document(height="integer", width="integer", depth=maybe("integer"))

ASSET = document(
    assetId=need("text"),
    datasetId="text",
    workspaceId="text",
    filename=need("text"),
    kind=word("Image", "Video"),
    owner="text",
    selfLink="text",
    etag="text",
    metadata=need(
        document(
            generations=document(asset="text", thumbnail="text"),
            insertedBy="text",
            annotations=document(withTag=MapOf("integer"), total="integer"),
            frames="integer",
            cohorts=ListOf("text"),
            fileSize=need("integer"),
            height="integer",
            width="integer",
            mimeType="text",
            source="text",
            status="text",
            uploadStatus="text",
            visibility="text",
            userDefined=MapOf("any"),
            customMetadata=MapOf("scalar"),
            dimensions=_SIZE,
            pixelRatio=_SIZE,
            comments="integer",
            customMetadataCount="integer",
            hash=document(algorithm=word("sha256", "md5", "crc32c"), contents="text"),
            contentsFrom="text",
            framesChange=MapOf("integer"),
            timeCreated="time",
            lastUpdated="time",
            contentsLastUpdated="time",
        )
    ),
    contents=maybe(document(asset=maybe(CONTENTS), thumbnail=maybe(CONTENTS))),
)

UPLOADED = document(
    kind=word("Image", "Video"),
    filename=need("text"),
    mime="text",
    size="integer",
    crc32c=maybe("integer"),
    customMetadata=maybe(MapOf("scalar")),
)
EVENT_CODES = word(
    "EALREADY",
    "EBADMIME",
    "EBADSIZE",
    "ECORRUPT",
    "ENOQUOTA",
    "ETIMEOUT",
    "EUNKNOWN",
    "EOLDMETA",
    "ERESNENT",
    "EPROJECT",
    "ENOASSET",
    "ESEQMETA",
)
EVENT = document(
    kind=need(word("Error", "Progress")),
    files=maybe(MapOf(EVENT_CODES)),
    corrections=maybe(MapOf("text")),
    time=maybe("time"),
    tasks=maybe(MapOf(MapOf("integer"))),
)
_SOURCE: dict[str, Shape | Field] = {
    "workspaceId": "text",
    "datasetId": "text",
    "assetSourceClass": "text",
    "assetSourceProvider": "text",
    "assetSourceId": "text",
    "selfLink": "text",
    "etag": "text",
    "metadata": METADATA,
}
SESSION = document(
    kind=maybe(word("AssetIngestionSession")),
    assetIngestionSessionId=need("text"),
    ingestionId="text",
    spec=document(
        kind="text",
        failureMode=word("FailAfterOne", "FailAfterAll"),
        onAssetOverwritten=word("RemoveLinkedResource", "KeepLinkedResources"),
        assets=maybe(ListOf(UPLOADED)),
    ),
    status=need(
        document(
            conditions=need(ListOf(CONDITION)),
            events=ListOf(EVENT),
            progressCount=need(document(total="integer", succeeded="integer", errored="integer")),
            assets=maybe(ListOf(document(metadata=need(UPLOADED), upload=need(CONTENTS)))),
        )
    ),
    **_SOURCE,
)
MULTIPART = document(
    kind=maybe(word("MultipartUpload")),
    multipartUploadId=need("text"),
    spec=document(ingestionId="text", filename="text", sizeBytes="integer", contentType=maybe("text")),
    status=need(document(conditions=ListOf(CONDITION), partCount=need("integer"))),
    **_SOURCE,
)
PART = document(
    method=need(word("PUT", "POST")),
    url=need("text"),
    expiry="time",
    headers=maybe(MapOf("text")),
    responseHeaders=need(ListOf("text")),
    responseBody="boolean",
)
_DELETION: dict[str, Shape | Field] = {
    "kind": "text",
    "workspaceId": "text",
    "datasetId": "text",
    "selfLink": "text",
    "etag": "text",
    "metadata": METADATA,
    "status": need(document(conditions=need(ListOf(CONDITION)))),
}
DELETED_DATASET = document(user="text", **_DELETION)
BULK_DELETION = document(
    deleteManyAssetsSessionId=need("text"),
    spec=document(
        filter=maybe("any"), metadataQuery=maybe("text"), ruleQuery=maybe("text"), strictQuery=maybe("boolean")
    ),
    **_DELETION,
)
ERROR = document(code=maybe("text"), message=need("text"), details=maybe("any"))
COUNT = document(count=need("integer"))


def page_of(item: Shape) -> Document:
    """Return the shape of one page of a listing (section 3.5)."""
    return document(items=maybe(ListOf(item)), nextPage=maybe("text"), prevPage=maybe("text"))


_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "time": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "scalar": (str, int, float, bool),
}
_MOST = 50
"""How many differences of one answer are reported; a listing of other documents has the same ones a thousand times."""


def differences(value: object, shape: Shape) -> list[Difference]:
    """Return where *value* differs from *shape*, each kind of place once."""
    found: dict[tuple[str, str], Difference] = {}
    for one in _compare(value, shape, "", needed=True):
        found.setdefault((one.path, one.kind), one)
        if len(found) == _MOST:
            break
    return list(found.values())


def _compare(value: object, shape: Shape, path: str, *, needed: bool) -> Iterator[Difference]:
    where = path or "(the document)"
    match shape:
        case "any":
            return
        case str():
            if not isinstance(value, _TYPES[shape]) or (isinstance(value, bool) and bool not in _TYPES[shape]):
                yield Difference(where, "type", shape, value, needed)
        case Word(known):
            if not isinstance(value, str):
                yield Difference(where, "type", "text", value, needed)
            elif value not in known:
                yield Difference(where, "new value", " | ".join(sorted(known)), value, needed=False)
        case ListOf(item):
            if not isinstance(value, list):
                yield Difference(where, "type", "list", value, needed)
                return
            for one in value:
                yield from _compare(one, item, f"{path}[]", needed=needed)
        case MapOf(item):
            if not isinstance(value, dict):
                yield Difference(where, "type", "object", value, needed)
                return
            for one in value.values():
                yield from _compare(one, item, f"{path}{{}}", needed=needed)
        case Document(fields):
            if not isinstance(value, dict):
                yield Difference(where, "type", "object", value, needed)
                return
            yield from _compare_fields(value, fields, path)


def _compare_fields(value: dict[Any, Any], fields: Mapping[str, Field], path: str) -> Iterator[Difference]:
    for name, field in fields.items():
        below = f"{path}.{name}" if path else name
        if value.get(name) is not None:
            yield from _compare(value[name], field.shape, below, needed=field.needed)
        elif field.required:
            yield Difference(below, "missing", "present and not null", None, field.needed)
    for name in value.keys() - fields.keys():
        yield Difference(path or "(the document)", "unknown field", "no other field", name, needed=False)
