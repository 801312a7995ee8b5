"""`flipside config`: the settings in force."""

from flipside.commands.options import AsJson, settings_of_service


def config(as_json: AsJson = False) -> None:
    """Show every setting, its variable and its value; secrets are masked."""
    import json

    from rich.console import Console
    from rich.table import Table

    settings = settings_of_service()
    values = json.loads(settings.model_dump_json())
    if as_json:
        print(json.dumps(values))
        return
    table = Table("variable", "value", "default")
    for name, field in type(settings).model_fields.items():
        table.add_row(f"FLIPSIDE_{name.upper()}", str(values[name]), str(field.default))
    Console().print(table)
