"""Templates of pages, from this folder."""

from __future__ import annotations

import jinja2


def template(name: str) -> jinja2.Template:
    """A template whose values are escaped; a value that it is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyasr.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
