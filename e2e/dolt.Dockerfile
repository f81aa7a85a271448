# Dolt for the end-to-end tests, where its own image cannot be pulled: the pinned one that tools/build made.
ARG BASE
FROM ${BASE}
COPY dolt /usr/local/bin/dolt
