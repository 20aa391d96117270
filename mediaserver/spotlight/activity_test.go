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

// Who spoke longest ago makes room, whoever speaks more; of those who speak now, who does least.
func TestWhoMakesRoom(t *testing.T) {
	much, little := activity{active: 0b111, block: 5}, activity{active: 0b1}
	for name, c := range map[string]struct {
		focus []*Sender
		want  int
	}{
		"the second": {[]*Sender{
			{spoke: 5, activity: little}, {spoke: 3, activity: much}, {spoke: 4, activity: little},
		}, 1},
		"the first":                    {[]*Sender{{spoke: 3, activity: much}, {spoke: 5, activity: little}}, 0},
		"both speak":                   {[]*Sender{{spoke: 3, activity: much}, {spoke: 3, activity: little}}, 1},
		"both do, the other way round": {[]*Sender{{spoke: 3, activity: little}, {spoke: 3, activity: much}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&Spotlight{focus: c.focus}).last(); got != c.want {
				t.Errorf("number %d, want %d", got, c.want)
			}
		})
	}
}
