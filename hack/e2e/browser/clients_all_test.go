//go:build all

package browser

// pairings are all of them.
var pairings = func() (all []pairing) {
	for _, sender := range []string{currentSDK, oldSDK} {
		for _, receiver := range []string{currentSDK, oldSDK} {
			for _, codec := range []string{"VP8", "VP9", "H264", "AV1"} {
				for _, simulcast := range []bool{false, true} {
					for _, sendrecv := range []bool{false, true} {
						all = append(all, pairing{sender, receiver, codec, simulcast, sendrecv})
					}
				}
			}
		}
	}

	return all
}()
