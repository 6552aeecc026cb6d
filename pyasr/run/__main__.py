"""python -m pyasr.run"""

from pyasr.run.cli import main

if __name__ == "__main__":
    main()
