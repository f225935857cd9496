"""The whole loop on fifty years of real daily weather: `python -m examples.rainfall --help`."""
