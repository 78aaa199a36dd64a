"""The examples of the product documentation, as printed, with the indentation that printing lost."""

from __future__ import annotations

EXAMPLES: dict[str, str] = {
    "basic listing": """
# Basic listing
assets = client.assets.list(dataset_id="dataset_abc123")
for asset in assets.items:
    print(f"{asset.filename}: {asset.metadata.width}x{asset.metadata.height}")
""",
    "pagination and sorting": """
# With pagination and sorting
from vi.api.types import PaginationParams
from vi.api.resources.datasets.assets.types import (
    AssetSortCriterion,
    SortCriterion,
    SortOrder
)
pagination = PaginationParams(page_size=100)
sort_by = AssetSortCriterion(
    criterion=SortCriterion.FILENAME,
    order=SortOrder.ASC
)
for page in client.assets.list(
    dataset_id="dataset_abc123",
    pagination=pagination,
    sort_by=sort_by
):
    for asset in page.items:
        print(f"{asset.filename}")
""",
    "listing with URLs": """
# Get assets with download URLs
assets = client.assets.list(
    dataset_id="dataset_abc123",
    contents=True
)
for asset in assets.items:
    if asset.contents and asset.contents.asset:
        print(f"{asset.filename}: {asset.contents.asset.url}")
""",
    "metadata query": """
# Filter by metadata
assets = client.assets.list(
    dataset_id="dataset_abc123",
    metadata_query='custom_field == "value"'
)
""",
    "basic get": """
# Basic usage
asset = client.assets.get(
    dataset_id="dataset_abc123",
    asset_id="asset_xyz789"
)
print(f"Filename: {asset.filename}")
print(f"Size: {asset.metadata.file_size} bytes")
""",
    "get with URL": """
# Get with download URL
asset = client.assets.get(
    dataset_id="dataset_abc123",
    asset_id="asset_xyz789",
    contents=True
)
if asset.contents and asset.contents.asset:
    print(f"Download URL: {asset.contents.asset.url}")
    print(f"Expires: {asset.contents.asset.expiry}")
""",
    "info": """
# Display detailed information
asset = client.assets.get(
    dataset_id="dataset_abc123",
    asset_id="asset_xyz789"
)
asset.info() # Prints formatted asset summary
""",
    "upload one file": """
# Upload single file
result = client.assets.upload(
    dataset_id="dataset_abc123",
    paths="image.jpg",
    wait_until_done=True
)
print(f"Uploaded: {result.total_succeeded}")
""",
    "upload a folder": """
# Upload entire folder
result = client.assets.upload(
    dataset_id="dataset_abc123",
    paths="./images/",
    wait_until_done=True
)
print(f"✓ Uploaded: {result.total_succeeded}")
print(f"✗ Failed: {result.total_failed}")
print(result.summary())
""",
    "upload a list": """
# Upload multiple specific files
result = client.assets.upload(
    dataset_id="dataset_abc123",
    paths=["image1.jpg", "image2.png", "image3.webp"],
    wait_until_done=True
)
""",
    "upload with error handling": """
# Upload with error handling
from vi import ViUploadError, ViFileTooLargeError
try:
    result = client.assets.upload(
        dataset_id="dataset_abc123",
        paths="./images/",
        wait_until_done=True
    )
    print(f"✓ Uploaded: {result.total_succeeded}")
    print(f"✗ Failed: {result.total_failed}")
    if result.failed_files:
        print("Failed files:")
        for f in result.failed_files:
            print(f" - {f}")
except ViFileTooLargeError as e:
    print(f"File too large: {e.message}")
except ViUploadError as e:
    print(f"Upload failed: {e.message}")
""",
    "upload without waiting": """
# Async upload (don't wait)
result = client.assets.upload(
    dataset_id="dataset_abc123",
    paths="./large_folder/",
    wait_until_done=False
)
# Get session IDs for later status check
print(f"Session IDs: {result.session_ids}")
""",
    "basic download": """
# Basic download
downloaded = client.assets.download(
    dataset_id="dataset_abc123",
    save_dir="./assets"
)
""",
    "download with progress and overwrite": """
# Download with progress and overwrite
downloaded = client.assets.download(
    dataset_id="dataset_abc123",
    save_dir="./assets",
    overwrite=True,
    show_progress=True
)
print(f"Downloaded to: {downloaded}")
""",
    "delete one asset": """
# Delete single asset
deleted = client.assets.delete(
    dataset_id="dataset_abc123",
    asset_id="asset_xyz789"
)
""",
    "delete several assets": """
# Delete multiple assets
asset_ids = ["asset_1", "asset_2", "asset_3"]
for asset_id in asset_ids:
    client.assets.delete(
        dataset_id="dataset_abc123",
        asset_id=asset_id
    )
    print(f"Deleted: {asset_id}")
""",
    "wait for a session": """
# Basic usage
status = client.assets.wait_until_done(
    dataset_id="dataset_abc123",
    asset_ingestion_session_id="session_id"
)
print(f"Succeeded: {status.status.progressCount.succeeded}")
print(f"Failed: {status.status.progressCount.errored}")
""",
    "wait after an upload": """
# After async upload
result = client.assets.upload(
    dataset_id="dataset_abc123",
    paths="./images/",
    wait_until_done=False
)
# Do other work...
# Then wait for completion
for session_id in result.session_ids:
    status = client.assets.wait_until_done(
        dataset_id="dataset_abc123",
        asset_ingestion_session_id=session_id
    )
    print(f"Session {session_id}: {status.status.progressCount.succeeded} succeeded")
""",
    "import Asset": "from vi.api.resources.datasets.assets.responses import Asset",
    "import AssetMetadata": "from vi.api.resources.datasets.assets.responses import AssetMetadata",
    "import AssetGenerations": "from vi.api.resources.datasets.assets.responses import AssetGenerations",
    "import AssetAnnotations": "from vi.api.resources.datasets.assets.responses import AssetAnnotations",
    "import AssetDimensions": "from vi.api.resources.datasets.assets.responses import AssetDimensions",
    "import AssetPixelRatio": "from vi.api.resources.datasets.assets.responses import AssetPixelRatio",
    "import AssetHash": "from vi.api.resources.datasets.assets.responses import AssetHash",
    "import AssetContents": "from vi.api.resources.datasets.assets.responses import AssetContents",
    "import Contents": "from vi.api.resources.datasets.assets.responses import Contents",
    "import AssetIngestionSession": "from vi.api.resources.datasets.assets.responses import AssetIngestionSession",
    "import AssetIngestionSessionSpec": "from vi.api.resources.datasets.assets.responses import AssetIngestionSessionSpec",
    "import AssetIngestionSessionStatus": (
        "from vi.api.resources.datasets.assets.responses import AssetIngestionSessionStatus"
    ),
    "import AssetIngestionProgressCount": (
        "from vi.api.resources.datasets.assets.responses import AssetIngestionProgressCount"
    ),
    "import UploadedAssetMetadata": "from vi.api.resources.datasets.assets.responses import UploadedAssetMetadata",
    "import AssetForUpload": "from vi.api.resources.datasets.assets.responses import AssetForUpload",
    "import AssetSortCriterion": "from vi.api.resources.datasets.assets.types import AssetSortCriterion",
    "import AssetCustomMetadata": "from vi.api.resources.datasets.assets.types import AssetCustomMetadata",
    "import SortCriterion": "from vi.api.resources.datasets.assets.types import SortCriterion",
    "import SortOrder": "from vi.api.resources.datasets.assets.types import SortOrder",
    "import FailureMode": "from vi.api.resources.datasets.assets.responses import FailureMode",
    "import ResourceRetentionMode": "from vi.api.resources.datasets.assets.responses import ResourceRetentionMode",
    "import AssetIngestionError": "from vi.api.resources.datasets.assets.responses import AssetIngestionError",
}
