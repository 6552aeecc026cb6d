"""The native kernels' Python face, one file a topic; `reference.py` holds the slow, obvious twin of each."""

try:
    import pyasr._core  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "pyasr's native module is missing. Install the package (pip install .), or build the module in place:"
        " cmake -S . -B build -G Ninja -DPYASR_INPLACE=ON && cmake --build build"
    ) from error
