"""The profiles as a table."""

from rich.console import Console
from rich.table import Table

from hfpc.submit.profiles import PROFILES, SPOT_SUFFIX, machines_of


def print_profiles(console: Console) -> None:
    """Every profile with its machines, and what can be done with them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("profile", "machines", "memory", "what it is"):
        table.add_column(column, overflow="fold")
    for profile in PROFILES:
        memory = f"{profile.memory} GB" if profile.memory else ""
        if profile.device_memory:
            memory += f", {profile.device_memory} a device"
        table.add_row(f"[cyan]{profile.name}[/]", machines_of(profile), memory, profile.what)
    console.print(table)
    console.print(
        f"\nNAME{SPOT_SUFFIX}: the same on spot machines of Vertex AI; give the pipeline a checkpoint_uri.",
        "compile for one:  hfpc compile finetune_local --profile gpu-l4",
        "or submit to one: hfpc submit PIPELINE --to vertex --profile gpu-l4",
        sep="\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
