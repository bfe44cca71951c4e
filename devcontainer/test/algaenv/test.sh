#!/bin/bash
# For `devcontainer features test`, which runs it in a container that has the feature.
set -e

# shellcheck disable=SC1091  # The tool of the test puts it here.
source dev-container-features-test-lib

check "it is on PATH" algaenv --version
check "the runner is, too" command -v algaenv-runner
# shellcheck disable=SC2016  # The inner shell expands it.
check "a project can be made" bash -c 'cd "$(mktemp -d)" && algaenv new hello && algaenv validate'

reportResults
