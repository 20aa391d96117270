#!/usr/bin/env bash
# Runs the browser tests: headless Chromium and Firefox with the unmodified
# sora-js-sdk, the embedded page, and the documented HTTPie lines, all against the
# programs that `make build` left in bin/, in a network namespace. Installs what is
# absent from Debian's packages, which needs root, and client libraries from npm. With
# BUILD it builds the tests into that file and runs none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

need=()
command -v chromium >/dev/null || need+=(chromium)
command -v firefox-esr >/dev/null || need+=(firefox-esr)
command -v ip >/dev/null || need+=(iproute2)
command -v http >/dev/null || need+=(httpie)
command -v npm >/dev/null || need+=(npm)
if [ ${#need[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "the browser tests need ${need[*]}: install them, or run this as root on Debian" >&2
    exit 1
  fi
  echo "installing ${need[*]}" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >&2
fi

# The SDK asks for a newer Node.js than this step does: only its browser bundle is used.
npm ci --no-audit --no-fund --engine-strict=false --loglevel=error

if [ -n "${BUILD:-}" ]; then
  exec go test -c -tags "${TAGS:-}" -o "$BUILD" .
fi
exec go test -count=1 -timeout "${TIMEOUT:-18m}" -tags "${TAGS:-}" -run "${RUN:-}" -v -exec "$PWD/namespace.sh" ./...
