#!/usr/bin/env bash
# Writes behind the tag of each image the digest that it has now, so that what is built
# and run stays what was tested: image:tag becomes image:tag@sha256:... Run it again
# after changing a tag, and look at git diff. It needs Docker with buildx and the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

files=(Dockerfile compose/docker-compose.yml)
images=$(sed -nE -e 's/^FROM (--[^ ]+ )*([^ ]+).*/\2/p' -e 's/^ +image: +([^ ]+)$/\1/p' "${files[@]}" | sort -u)
for image in $images; do
	tagged=${image%@*}
	[[ ${tagged##*/} == *:* ]] || continue # without a tag: built here
	digest=$(docker buildx imagetools inspect "$tagged" --format '{{.Manifest.Digest}}')
	[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$tagged: \"$digest\" is no digest" >&2; exit 1; }
	sed -i.before -e "s|$image\( .*\)\{0,1\}\$|$tagged@$digest\1|" "${files[@]}"
	rm -f "${files[@]/%/.before}"
	echo "$tagged@$digest"
done
