#!/bin/sh
# Install torch: the ordinary build where there is a GPU, the CPU build elsewhere (gigabytes smaller).
# Reads PIP (the install command) and GPU (yes or empty).
set -eu
version=2.13.0
if [ "${GPU:-}" = yes ]; then
    exec $PIP "torch>=2.7"
fi
# a local wheel that pip is configured to find, then PyTorch's own index of CPU builds
$PIP --no-index "torch==${version}" --no-deps 2>/dev/null ||
    $PIP --index-url https://download.pytorch.org/whl/cpu "torch==${version}" ||
    $PIP "torch==${version}"
