"""auxlib: adapt a frozen pre-trained model by something auxiliary beside it.

The library under the course on Auxiliary Tuning. Importing the package is cheap: it loads no model, no data and
no torch. Each module answers one question; `README.md` has the list.
"""

__version__ = "0.1.0"
