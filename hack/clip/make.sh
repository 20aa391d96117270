#!/bin/sh
# Makes the clip that the synthetic clients publish: clip.ivf (VP8), its smaller layers
# clip-r1.ivf and clip-r0.ivf, and clip.ogg (Opus); and the layers that are sent over bad
# networks. Needs ffmpeg with libvpx and libopus (Debian: apt-get install ffmpeg).
# All are committed, so nobody needs to run this in order to build.
#
# Usage: hack/clip/make.sh [output directory [that of the others]]
set -eu

out=${1:-$(dirname "$0")/../../cmd/nagi/bot/clip}
network=${2:-$(dirname "$0")/../e2e/browser/clip}
seconds=10
rate=25 # divides the 90 kHz of RTP's video clock

command -v ffmpeg >/dev/null || { echo "ffmpeg is not installed: apt-get install ffmpeg" >&2; exit 1; }
mkdir -p "$out" "$network"

# video FILE SIZE KBITS [NOISE] makes one layer: the same pictures in each, so that a frame of one
# is the same instant as the frame of the same number in another.
#
# A keyframe each second (-g, no scene-cut ones), so that a bot never needs more
# than a jump to answer a keyframe request; one temporal layer and no hidden
# frames (-auto-alt-ref 0), so that each IVF frame is one picture; intermediate
# frames of the largest big enough to span RTP packets.
video() {
	ffmpeg -hide_banner -loglevel error -y \
		-f lavfi -i "testsrc2=size=640x360:rate=$rate:duration=$seconds" \
		-vf "noise=alls=${4:-4}:allf=t:all_seed=1,scale=$2" \
		-c:v libvpx -b:v "$3k" -minrate "$3k" -maxrate "$3k" -bufsize "$(($3 / 2))k" \
		-g $rate -keyint_min $rate -auto-alt-ref 0 -lag-in-frames 0 -error-resilient 0 \
		-deadline good -cpu-used 1 -threads 1 -pix_fmt yuv420p \
		-fflags +bitexact -flags:v +bitexact -f ivf "$1"
}
video "$out/clip-r0.ivf" 160:90 60
video "$out/clip-r1.ivf" 320:180 200
video "$out/clip.ivf" 640:360 700

# One packet per Ogg page (-page_duration), so that a reader of pages is enough.
# A quiet A-major chord that breathes once every five seconds; every partial has
# a whole number of periods in the clip, so that the loop is not heard.
ffmpeg -hide_banner -loglevel error -y \
	-f lavfi -i "aevalsrc='0.06*(sin(2*PI*220*t)+0.6*sin(2*PI*277*t)+0.5*sin(2*PI*330*t))*(0.7+0.3*cos(2*PI*0.2*t))':sample_rate=48000:duration=$seconds" \
	-c:a libopus -b:a 32k -vbr off -frame_duration 20 -application audio -ac 1 \
	-page_duration 20000 -fflags +bitexact -flags:a +bitexact -f ogg "$out/clip.ogg"

# So noisy that each layer takes what it may: 146, 451 and 1,183 kbit/s.
seconds=5
video "$network/r0.ivf" 240:136 150 30
video "$network/r1.ivf" 480:270 560 30
video "$network/r2.ivf" 960:540 1200 30

ls -l "$out" "$network"
