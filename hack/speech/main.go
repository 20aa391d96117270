// Speech makes the conversation that mediaserver/spotlight is tested with: how loud three
// speakers are in each 20 ms, as a client would say it with its packets (RFC 6464), and
// who has the word when. It needs Debian's espeak-ng; what it makes is committed, so that
// nothing else does.
//
//	go run ./hack/speech > mediaserver/spotlight/testdata/conversation.txt
//
// Each speaker's microphone has noise of its own, and a little of the others' voices.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os/exec"
	"strings"
)

// rate is what espeak-ng's voices have, in samples per second; a frame is 20 ms.
const (
	rate        = 22050
	frame       = rate / 50
	headerBytes = 44 // of a WAV file
	overload    = 32768
)

// speaker is a voice, and what else its microphone hears, in dB below overload.
type speaker struct {
	voice, speed string
	gain         float64
	noise        float64
}

var speakers = []speaker{
	{voice: "en-us+m3", speed: "165", gain: 0.5, noise: -62},
	{voice: "en-gb-x-rp+f3", speed: "180", gain: 0.3, noise: -72},
	{voice: "en-gb-scotland+m1", speed: "150", gain: 0.8, noise: -55},
}

// crosstalk is how much quieter the others are in somebody's microphone, in dB.
const crosstalk = 45

// turn is one speaker's having the word; it begins so long after the end of the turn before
// it, in seconds. Short ones are not turns but remarks: who makes them has not the word.
type turn struct {
	speaker int
	after   float64
	remark  bool
	text    string
}

var turns = []turn{
	{
		0, 1, false,
		"Good morning, everybody. Shall we begin with what happened to the release on Monday? I think we all want to know.",
	},
	{1, 0.6, false, "Yes. The build was ready at nine, but one of the tests would not pass, " +
		"so we had to wait until somebody had found the cause."},
	{
		2, 0.4, false,
		"It was a clock. The machine had been set back by half a minute, and the test believed what the clock told it.",
	},
	{0, 0.3, true, "Oh."},
	{1, 0.2, false, "So we mended the test, and then everything went out before lunch. Nobody outside noticed anything."},
	{2, -0.4, false, "Apart from the people who had waited since the morning, and they were rather patient with us."},
	{
		0, 0.7, false,
		"Then the question is what we change. I would like to hear from both of you. What would have helped you most?",
	},
	{
		2, 1.2, false,
		"Knowing earlier. We looked at the wrong machine for an hour, because the message did not say where it came from.",
	},
	{1, -3, true, "Right."},
	{
		1, 0.5, false,
		"And a second pair of eyes. I was alone with it until ten o'clock, and I did not think of the clock at all.",
	},
	{0, 0.2, true, "Mm."},
	{
		0, 0.8, false,
		"Good. So the message names the machine from now on, and nobody releases anything alone. Are there any objections?",
	},
	{1, 0.5, true, "None."},
	{2, 0.3, false, "None from me either, but let us look again in a month, since rules like these are soon forgotten."},
	{0, 0.6, false, "We will do that. Thank you both, and have a good day."},
}

func main() {
	log.SetFlags(0)
	var voices [3][]float64
	var spoken []string
	end := 0
	for _, t := range turns {
		samples := speak(speakers[t.speaker], t.text)
		begin := max(0, end+int(t.after*rate))
		own := &voices[t.speaker]
		if missing := begin + len(samples) - len(*own); missing > 0 {
			*own = append(*own, make([]float64, missing)...)
		}
		for i, sample := range samples {
			(*own)[begin+i] += sample
		}
		what := "turn"
		if t.remark {
			what = "remark"
		}
		spoken = append(spoken, fmt.Sprintf("%s %d %d %d", what, t.speaker, begin/frame, (begin+len(samples))/frame))
		end = max(end, begin+len(samples))
	}
	frames := end/frame + 100
	fmt.Println(
		"# Made by hack/speech with espeak-ng. Frames are of 20 ms. Of turns and remarks: speaker, first frame, end.",
	)
	fmt.Println(strings.Join(spoken, "\n"))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range speakers {
		fmt.Printf("# Levels of speaker %d, in dB below overload, two hexadecimal digits each.\n", i)
		write(levels(i, voices, frames, random))
	}
}

// speak is a voice's saying something, without the silence around it.
func speak(s speaker, text string) []float64 {
	wav, err := exec.CommandContext(context.Background(), "espeak-ng", "-v", s.voice, "-s", s.speed,
		"--stdout", text).Output()
	if err != nil {
		log.Fatalf("espeak-ng: %v; install Debian's package espeak-ng", err)
	}
	var samples []float64
	for data := wav[headerBytes:]; len(data) >= 2; data = data[2:] {
		samples = append(samples, s.gain*float64(int16(binary.LittleEndian.Uint16(data)))/overload)
	}
	const silence = 0.001
	for len(samples) > 0 && math.Abs(samples[len(samples)-1]) < silence {
		samples = samples[:len(samples)-1]
	}
	for len(samples) > 0 && math.Abs(samples[0]) < silence {
		samples = samples[1:]
	}

	return samples
}

// levels are those of one microphone: the root mean square of each frame (RFC 6464 section 3).
func levels(own int, voices [3][]float64, frames int, random *rand.Rand) []byte {
	out := make([]byte, frames)
	for f := range out {
		energy := 0.0
		for i := f * frame; i < (f+1)*frame; i++ {
			sample := random.NormFloat64() * math.Pow(10, speakers[own].noise/20)
			for voice, samples := range voices {
				if i >= len(samples) {
					continue
				}
				if voice == own {
					sample += samples[i]
				} else {
					sample += samples[i] * math.Pow(10, -crosstalk/20.)
				}
			}
			energy += sample * sample
		}
		out[f] = byte(min(127, max(0, math.Round(-10*math.Log10(energy/frame+1e-13)))))
	}

	return out
}

func write(levels []byte) {
	const perLine = 50
	for ; len(levels) > perLine; levels = levels[perLine:] {
		fmt.Printf("%x\n", levels[:perLine])
	}
	fmt.Printf("%x\n", levels)
}
