#!/bin/sh
exec python -m pyasr.run "$@"
