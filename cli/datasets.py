"""sdedge datasets"""

from sdedge.cli import options
from sdedge.cli.output import console, guarded, print_json, table
from sdedge.paths import checked_path


@guarded
def datasets(data_root: options.DataRoot = None, json_output: options.Json = False) -> None:
    """List the data sets that --dataset takes."""
    from sdedge.data.catalog import describe_datasets

    rows = describe_datasets(checked_path(data_root or "data"))
    if json_output:
        print_json({"datasets": rows})
        return
    out = console()
    out.print(
        table(
            "data sets",
            ("name", "classes", "images", "size", "where", "state"),
            (
                (
                    row["name"],
                    row["classes"],
                    row["images"],
                    f"{row['image_size']} px",
                    row["where"],
                    "downloaded on first use" if row["needs_download"] else "ready",
                )
                for row in rows
            ),
        ),
        soft_wrap=False,
    )
    out.print(
        "Your own images: --dataset FOLDER, with train/ and test/ (or val/) of class folders,\n"
        "or class folders alone, which are split by --set data_seed=N."
    )
