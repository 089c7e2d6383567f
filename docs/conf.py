"""Configuration of the documentation site. Build it with

    sphinx-build -nW --keep-going docs docs/_build

Sphinx with MyST reads the pages. sphinx-gallery executes the scripts in docs/examples in one process, so that they
share JAX and its compiled programs (myst-nb would start a kernel for each page), and links them from the reference.
pydata-sphinx-theme has the navigation that a site of this size needs, a dark and a light mode, and takes nothing from
the network. The extensions in docs/_ext generate the reference from the docstrings, embed plotly figures, and set
tables of measurements.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext")]

from figures import PlotlyScraper  # noqa: E402

# Examples compile the same programs at every build.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE / "_build" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

project = "twosided"
author = "The twosided developers"
html_title = "twosided"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "reference",
    "figures",
    "measurements",
    "root_files",
]
exclude_patterns = ["_build", "_ext", "examples", "tables", "gallery/**/*.py.md5"]
nitpicky = True
suppress_warnings = ["config.cache"]  # sphinx_gallery_conf holds objects

# --- Pages ---

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# --- Reference ---

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
viewcode_line_numbers = True

# --- Gallery ---

# Examples that need an extra are shown but not executed where it is missing; CI has all of them.
EXTRAS = {"stable_baselines3": "stable_baselines3", "gymnasium_environment": "gymnasium"}
missing = [example for example, module in EXTRAS.items() if importlib.util.find_spec(module) is None]
not_executed = f"(?!.*({'|'.join(missing)}))" if missing else ""

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"^{not_executed}.*\.py$",
    "image_scrapers": (PlotlyScraper(),),
    "reset_modules": (),
    "abort_on_example_error": True,
    "subsection_order": [
        f"examples/{name}" for name in ("start", "own", "exact", "calibration", "risk", "libraries")
    ],
    "within_subsection_order": "figures.gallery_order",
    "remove_config_comments": True,
    "doc_module": ("twosided",),
    "reference_url": {"twosided": None},
    "backreferences_dir": "gallery/uses",
    "show_signature": False,
    "min_reported_time": 1e6,
    "write_computation_times": False,
    "download_all_examples": False,
    "plot_gallery": True,
}

# --- Look ---

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_favicon = "_static/logo.svg"
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "text": "twosided"},
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "getting_started": []}  # pages without others below them
html_context = {"default_mode": "auto"}
copyright = author
