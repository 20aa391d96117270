package signaling

import "encoding/json"

// defaultSpotlightNumber is for a channel whose first client names none. Sora's highest is
// the same, its default is not known.
const (
	defaultSpotlightNumber = 5
	maxSpotlightNumber     = 8
)

// Spotlight is what a client wants of a channel in which those who speak are in focus.
type Spotlight struct {
	// Number is how many are in focus at most. The first client of a channel decides.
	Number int
	// FocusRID is what it wants of the video of those in focus, UnfocusRID what of the
	// others': one of RIDs or RIDNone.
	FocusRID, UnfocusRID string
}

// decodeSpotlight is nil where the client does not ask for it; then its other fields mean
// nothing.
func decodeSpotlight(fields object) (*Spotlight, error) {
	var wanted bool
	if value := fields["spotlight"]; !isNull(value) && json.Unmarshal(value, &wanted) != nil {
		return nil, refuse(ReasonInvalidJSON, "spotlight must be true or false")
	}
	if !wanted {
		return nil, nil //nolint:nilnil // As Connect documents.
	}
	s := &Spotlight{Number: defaultSpotlightNumber, FocusRID: RIDs[1], UnfocusRID: RIDs[0]}
	if number := fields["spotlight_number"]; !isNull(number) {
		if json.Unmarshal(number, &s.Number) != nil || s.Number < 1 || s.Number > maxSpotlightNumber {
			return nil, refuse(ReasonInvalidSpotlight, "spotlight_number must be a whole number from 1 to %d",
				maxSpotlightNumber)
		}
	}
	for name, rid := range map[string]*string{"spotlight_focus_rid": &s.FocusRID, "spotlight_unfocus_rid": &s.UnfocusRID} {
		if isNull(fields[name]) {
			continue
		}
		var ok bool
		if *rid, ok = ridOf(fields[name]); !ok {
			return nil, refuse(ReasonInvalidSpotlight, "%s %.20q: use none, r0, r1 or r2", name, *rid)
		}
	}

	return s, nil
}
