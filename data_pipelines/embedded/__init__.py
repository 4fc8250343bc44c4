"""Jobs that pack real data out of ordinary packages: no data set has to be downloaded by hand."""
