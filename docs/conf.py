"""The documentation site: ``sphinx-build -W --keep-going docs build/site``.

``-D plot_gallery=0 -D nb_execution_mode=off -D page_pictures=0`` executes no gallery, no notebook,
and draws no picture of a rule or measure.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import rewire  # noqa: E402

project = "rewire"
author = "The rewire developers"
copyright = author
version = release = rewire.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_gallery.gen_gallery",
    "docstring_text",
    "generated_pages",
    "repository_links",
]
exclude_patterns = ["_extensions", "gallery", "generated/gallery/*.[!r]*"]
default_role = "py:obj"
language = "en"

html_theme = "furo"
html_title = "rewire"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autoclass_content = "class"
maximum_signature_line_length = 80

myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "colon_fence"]
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_in_temp = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "capture_repr": (),
    "image_scrapers": ("matplotlib", "figure_scraper"),
}
