"""Train hybrid acoustic models on far more untranscribed than transcribed speech."""

from pkgutil import extend_path

__version__ = "0.1.0"

# `python -m pyasr...` in a checkout finds this folder before the installed package, which alone has the
# native module: look there as well.
__path__ = extend_path(__path__, __name__)
