package signaling

import "encoding/json"

// defaultOpus offers stereo, as Sora does.
var defaultOpus = Opus{Stereo: true, SpropStereo: true, UseInbandFEC: true, MinPTime: 10}

// decodeOpus reads opus_params. Bounds are those of RFC 7587 section 6.1.
func decodeOpus(value json.RawMessage) (Opus, error) {
	opus := defaultOpus
	if isNull(value) {
		return opus, nil
	}
	var fields object
	if json.Unmarshal(value, &fields) != nil {
		return opus, refuse(ReasonInvalidAudioFormat, "opus_params must be an object")
	}
	// RTP has Opus as opus/48000/2 always (RFC 7587 section 7). So channels says no more than whether both are wanted,
	// and clock_rate nothing.
	channels, clockRate := 2, 48_000
	for _, number := range []struct {
		name        string
		value       *int
		least, most int
	}{
		{"channels", &channels, 1, 2},
		{"clock_rate", &clockRate, 48_000, 48_000},
		{"minptime", &opus.MinPTime, 3, 120},
		{"ptime", &opus.PTime, 3, 120},
		{"maxplaybackrate", &opus.MaxPlaybackRate, 8_000, 48_000},
	} {
		field := fields[number.name]
		if isNull(field) {
			continue
		}
		if json.Unmarshal(field, number.value) != nil || *number.value < number.least || *number.value > number.most {
			return opus, refuse(ReasonInvalidAudioFormat, "opus_params.%s must be a whole number from %d to %d",
				number.name, number.least, number.most)
		}
	}
	opus.Stereo, opus.SpropStereo = channels == 2, channels == 2
	for name, flag := range map[string]*bool{
		"stereo": &opus.Stereo, "sprop_stereo": &opus.SpropStereo,
		"useinbandfec": &opus.UseInbandFEC, "usedtx": &opus.UseDTX,
	} {
		if !isNull(fields[name]) && json.Unmarshal(fields[name], flag) != nil {
			return opus, refuse(ReasonInvalidAudioFormat, "opus_params.%s must be true or false", name)
		}
	}

	return opus, nil
}
