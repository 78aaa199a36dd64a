"""Settings of the documentation: ``nox -s docs`` builds it, and a warning fails the build."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import attrs
from docutils.nodes import Element, Node
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import vi

sys.path.insert(0, str(Path(__file__).parent))
import command_line

project = "vi"
author = "the vi authors"
copyright = author
release = version = vi.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "examples", "**.ipynb_checkpoints"]
default_role = "py:anywhere"
nitpicky = True
suppress_warnings = ["ref.python"]  # of several methods with the same name the first is meant
# What is not ours is not looked up: the build needs no network. Type variables are documented nowhere.
nitpick_ignore_regex = [("py:(class|data|exc|meth|func|attr)", r"(?!vi\.).*|vi\..*\.[A-Z](_co|_contra)?")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 90

napoleon_numpy_docstring = False
napoleon_use_rtype = False

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"vi {release}"
html_copy_source = False
html_show_sphinx = False

MADE_BY_CALLERS = (
    "AssetSortCriterion",
    "AsyncClient",
    "Client",
    "PaginationParams",
    "RetryPolicy",
    "ServiceConfig",
    "Settings",
    "Timeouts",
    "TransferLimits",
)
"""Classes whose arguments are shown; the others are handed out."""


class Anywhere(PyXRefRole):
    """A name in a docstring's single backticks, which is looked for in every documented module."""

    def process_link(
        self, env: BuildEnvironment, refnode: Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        """Search as a leading dot makes Sphinx search."""
        title, target = super().process_link(env, refnode, has_explicit_title, title, target)
        refnode["reftype"], refnode["refspecific"] = "obj", True
        return title, target


class CommandLine(SphinxDirective):
    """``command-line``: the reference of ``vi-sdk``, in place of the directive."""

    def run(self) -> list[Node]:
        """Parse the generated text where the directive stands."""
        return self.parse_text_to_nodes(command_line.reference(), allow_section_headings=True)


def class_signature(
    _app: Sphinx, what: str, name: str, documented: Any, _options: Any, signature: str | None, _returns: str | None
) -> tuple[str, None] | None:
    """Show how a class is made if callers make it; attrs keeps its defaults where Sphinx does not look."""
    if what not in ("class", "exception") or signature is None:
        return None
    if name.rpartition(".")[2] not in MADE_BY_CALLERS:
        return "", None

    def constant(found: re.Match[str]) -> str:
        return repr(attrs.fields_dict(documented)[found[1]].default)

    def made(found: re.Match[str]) -> str:
        return f"{found[1]}: {found[2]} = {found[2].rpartition('.')[2]}()"

    signature = re.sub(r"attr_dict\['(\w+)'\]\.default", constant, signature)
    return re.sub(r"(\w+): ([\w.~]+) = NOTHING", made, signature), None


def without_makers(_app: Sphinx, what: str, name: str, *_: Any) -> bool | None:
    """Leave out ``of``, which makes a result of what only we have."""
    return True if what == "class" and name == "of" else None


def setup(app: Sphinx) -> None:
    """Add what is said above."""
    app.add_role_to_domain("py", "anywhere", Anywhere())
    app.add_directive("command-line", CommandLine)
    app.connect("autodoc-process-signature", class_signature)
    app.connect("autodoc-skip-member", without_makers)
