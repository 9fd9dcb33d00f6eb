#!/bin/bash
# Every mistake of tools/mutations.list still has its place, once: what moves its text moves it along.
cd "$(dirname "$0")/../.." || exit 1
out=$(APPLY=1 tools/mutations.sh) || { grep -v ' applies to ' <<<"$out"; exit 1; }
