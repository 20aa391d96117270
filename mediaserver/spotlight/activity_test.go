package spotlight

import "testing"

// Who has spoken for longer in the last second comes before who speaks more this moment; between two of whom that is so
// alike, who has spoken more in the last tenth of a second does.
func TestExceeds(t *testing.T) {
	for name, c := range map[string]struct {
		a, b activity
		want bool
	}{
		"longer, and less at the moment": {activity{active: 0b111}, activity{active: 0b1, block: 5}, true},
		"shorter, and more":              {activity{active: 0b1, block: 5}, activity{active: 0b111}, false},
		"as long, and more":              {activity{active: 0b101, block: 3}, activity{active: 0b11, block: 2}, true},
		"as long, and less":              {activity{active: 0b11, block: 2}, activity{active: 0b101, block: 3}, false},
		"alike":                          {activity{active: 0b11, block: 2}, activity{active: 0b11, block: 2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.a.exceeds(&c.b); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
