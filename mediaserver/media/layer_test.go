package media_test

import (
	"testing"

	"github.com/nagi-rtc/nagi/mediaserver/media"
)

func TestNearestLayer(t *testing.T) {
	for _, test := range []struct {
		set   media.Layers
		layer media.Layer
		want  media.Layer
		ok    bool
	}{
		{media.LayersOf(0, 1, 2), 2, 2, true},
		{media.LayersOf(0, 1, 2), 0, 0, true},
		{media.LayersOf(0, 1), 2, 1, true},
		{media.LayersOf(0, 2), 1, 0, true},
		{media.LayersOf(1, 2), 0, 1, true},
		{media.LayersOf(2), 0, 2, true},
		{0, 1, 0, false},
	} {
		if got, ok := test.set.Nearest(test.layer); ok != test.ok || ok && got != test.want {
			t.Errorf("nearest to %d of %03b: %d, %v; want %d, %v", test.layer, test.set, got, ok, test.want, test.ok)
		}
	}
}
